"""The run: plan → fetch → decode → store → publish."""

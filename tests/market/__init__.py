"""Tests of `collector.market`: pure, so without a server."""

"""Embedded PostgreSQL and Redis: real servers on private sockets, for the commands of one home.

``place``      where an engine lives, and as which user it runs (pure Python, blocking, short)
``processes``  start as another user, know by the socket, reap
``locks``      kernel locks, and work that a cancellation does not tear
``lifecycle``  start, share, recover and stop one server process
``postgres``, ``redis``   what is particular to each
"""

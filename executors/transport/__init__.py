"""How the processes talk: HTTP between machines, framed Unix sockets on one machine."""

"""HTTP/1.1: heads, bodies, connections and their states."""

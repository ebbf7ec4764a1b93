"""WebSockets: handshake, frames, connections and their memory."""

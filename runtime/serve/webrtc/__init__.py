"""A session's video by WebRTC, from the packets that its one encoder made."""

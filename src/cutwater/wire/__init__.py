"""What travels: messages, frames, codecs."""

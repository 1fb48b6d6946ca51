"""States to bytes and back: what is remembered of each exposure, hot in this process and durable behind it."""

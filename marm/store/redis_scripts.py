"""What the server does in one go for one user: no reader sees a user between two states, and a reading is one round trip."""

import hashlib
from dataclasses import dataclass

APPEND = """
local key, at, ttl = KEYS[1], 5 + ARGV[4], tonumber(ARGV[3])
if ARGV[2] == '1' then redis.call('DEL', key) end
for i = 5, at - 1 do redis.call('HDEL', key, ARGV[i]) end
while at < #ARGV do
  local field, begin, data = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  if begin >= 0 then
    local held = redis.call('HGET', key, field) or ''
    local head = string.sub(held, 1, begin)
    data = head .. string.rep('\\0', begin - #head) .. data .. string.sub(held, begin + #data + 1)
  end
  redis.call('HSET', key, field, data)
  at = at + 3
end
redis.call('HSET', key, 'm', ARGV[1])
if ttl > 0 then redis.call('PEXPIRE', key, ttl) else redis.call('PERSIST', key) end
return 1
"""
"""ARGV: sealed meta, 1 to forget the user first, milliseconds to keep it (0: for ever), number of fields to delete, these,
then field, byte (-1: all), rows."""

FACTS = """
local key, count, kept, width = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rows_in, meta = tonumber(ARGV[4]), redis.call('HGET', KEYS[1], 'm')
if not meta then return false end
if #meta < 8 then return {meta, 0, ''} end
local next_ = struct.unpack('<l', meta)
local low, upto, held, at = math.max(next_ - kept, 0), next_, '', -1
local function chunk(c)
  if c ~= at then held, at = redis.call('HGET', key, 'f' .. string.format('%d', c)) or '', c end
  return held
end
local function time(position)
  local begin, data = position % rows_in * width + 1, chunk(math.floor(position / rows_in))
  if #data < begin + 7 then return 0 end
  return (struct.unpack('<l', data, begin))
end
if ARGV[5] and low < upto and time(upto - 1) >= tonumber(ARGV[5]) then
  local before, high = tonumber(ARGV[5]), upto - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time(middle) < before then low = middle + 1 else high = middle end
  end
  upto = low
end
local first, last = math.max(upto - count, next_ - kept, 0), math.min(upto + 1, next_)
local parts = {}
for c = math.floor(first / rows_in), math.floor((last - 1) / rows_in) do
  local from = math.max(first - c * rows_in, 0) * width + 1
  parts[#parts + 1] = string.sub(chunk(c), from, math.min(last - c * rows_in, rows_in) * width)
end
return {meta, upto, table.concat(parts)}
"""
"""ARGV: count, facts kept, width of a sealed row, rows in a chunk, and a time or nothing. Gives the meta, where the newest
facts before the time end, and these with the row after them, by which a search that a wrong time misled is found out."""


_LINEAGE = "string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''"
"""Another one once a node was promoted, or began anew: then it may lack what was asked of the one before."""

STANDING = f"return {{redis.call('GET', KEYS[1]), {_LINEAGE}}}"
"""Gives a marker and the lineage of its node."""

MARK = f"""
if ARGV[2] ~= ({_LINEAGE}) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""
"""ARGV: cut, and the lineage that its rows were written to; of another one it does nothing."""


@dataclass(frozen=True)
class Script:
    """A script, and the name by which a server knows it once loaded."""

    text: str

    @property
    def sha(self) -> bytes:
        """SHA-1 of the text."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest().encode()


SCRIPTS = (Script(APPEND), Script(FACTS), Script(STANDING), Script(MARK))
APPEND_SHA, FACTS_SHA, STANDING_SHA, MARK_SHA = (script.sha for script in SCRIPTS)

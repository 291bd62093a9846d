-- Sends DEPTH requests in one write. wrk counts every answer.
init = function()
  many = string.rep(wrk.format(), DEPTH)
end
request = function()
  return many
end

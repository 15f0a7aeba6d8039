std = "ngx_lua"
max_line_length = 120
files["lua/redis"] = { std = "lua51", globals = { "redis" }, read_globals = { "bit", "struct" } }

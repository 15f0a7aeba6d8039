std = "ngx_lua"
max_line_length = 120
files["lua/redis"] = { std = "lua51", globals = { "redis" }, read_globals = { "bit", "struct" } }
files["scripts/bench/wrk"] = {
    std = "luajit",
    globals = { "setup", "init", "request", "done", "thread_index", "beacons", "others", "sending", "preparing" },
}

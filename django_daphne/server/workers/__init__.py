"""Several processes on the same addresses.

    supervisor        holds the listening sockets, starts and replaces workers; serves nobody
      worker          a fresh process that runs the supervisor's own command, and serves
      worker
      successor       another supervisor, after SIGUSR2: takes the sockets over

`slots` are the supervisor's sockets, `child` is what it knows of a worker, and `slot` of those in
one place. `supervisor` decides, and `succession` hands everything to another supervisor.
`inheritance` is what a process gets from the one that started it, `channel` how the two talk, and
`process` the worker itself.
"""

"""Settings of gunicorn, which serves the HTTP API; `dag_engine.api.server` adds address, workers
and threads.
"""

# One process holds many waiting answers (event streams, waits), so threads; the application is
# loaded before the fork, so that the workers share its memory and start at once.
worker_class = "dag_engine.api.server.ApiWorker"
preload_app = True

# Clients keep their connection between calls of a run that is looked at now and then.
keepalive = 75
worker_connections = 1000
backlog = 512

# gthread workers beat from their main loop, so this does not limit the length of an answer.
timeout = 60
graceful_timeout = 5

# What a request may bring in its head; bodies are limited by each call.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16380

# Nothing of a request is believed because of a header that a proxy would set.
forwarded_allow_ips = ""
# The heartbeat file of a worker; a disk that stalls must not look like a worker that hangs.
worker_tmp_dir = "/dev/shm"
control_socket_disable = True
accesslog = None
errorlog = "-"
loglevel = "warning"
proc_name = "dagengine-api"

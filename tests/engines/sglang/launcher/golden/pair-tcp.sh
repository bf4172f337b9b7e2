mkdir -p logs
# prefill-0, GPU 0
CUDA_VISIBLE_DEVICES=0 SGLANG_HOST_IP=127.0.0.1 MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30100 --disaggregation-mode prefill --disaggregation-transfer-backend mooncake --disaggregation-bootstrap-port 9000 --tp 1 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 > logs/prefill-0.log 2>&1 &
# decode-0, GPU 1
CUDA_VISIBLE_DEVICES=1 SGLANG_HOST_IP=127.0.0.1 MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30200 --disaggregation-mode decode --disaggregation-transfer-backend mooncake --tp 1 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 > logs/decode-0.log 2>&1 &
# router
python -m sglang_router.launch_router --pd-disaggregation --policy random --disable-retries --disable-circuit-breaker --prometheus-host 127.0.0.1 --prometheus-port 29000 --worker-startup-check-interval 1 --worker-startup-timeout-secs 900 --host 127.0.0.1 --port 30000 --prefill http://127.0.0.1:30100 9000 --decode http://127.0.0.1:30200 > logs/router.log 2>&1 &

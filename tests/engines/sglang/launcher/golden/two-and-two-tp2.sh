mkdir -p logs
# prefill-0, GPU 0,1
CUDA_VISIBLE_DEVICES=0,1 SGLANG_HOST_IP=127.0.0.1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30100 --disaggregation-mode prefill --disaggregation-transfer-backend mooncake --disaggregation-bootstrap-port 9000 --disaggregation-ib-device mlx5_0 --tp 2 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 > logs/prefill-0.log 2>&1 &
# prefill-1, GPU 2,3
CUDA_VISIBLE_DEVICES=2,3 SGLANG_HOST_IP=127.0.0.1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30101 --disaggregation-mode prefill --disaggregation-transfer-backend mooncake --disaggregation-bootstrap-port 9001 --disaggregation-ib-device mlx5_0 --tp 2 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 > logs/prefill-1.log 2>&1 &
# decode-0, GPU 4,5
CUDA_VISIBLE_DEVICES=4,5 SGLANG_HOST_IP=127.0.0.1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30200 --disaggregation-mode decode --disaggregation-transfer-backend mooncake --disaggregation-ib-device mlx5_0 --tp 2 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 --max-running-requests 64 > logs/decode-0.log 2>&1 &
# decode-1, GPU 6,7
CUDA_VISIBLE_DEVICES=6,7 SGLANG_HOST_IP=127.0.0.1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30201 --disaggregation-mode decode --disaggregation-transfer-backend mooncake --disaggregation-ib-device mlx5_0 --tp 2 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 --max-running-requests 64 > logs/decode-1.log 2>&1 &
# router
python -m sglang_router.launch_router --pd-disaggregation --policy random --disable-retries --disable-circuit-breaker --prometheus-host 127.0.0.1 --prometheus-port 29000 --worker-startup-check-interval 1 --worker-startup-timeout-secs 900 --host 127.0.0.1 --port 30000 --prefill http://127.0.0.1:30100 9000 --prefill http://127.0.0.1:30101 9001 --decode http://127.0.0.1:30200 --decode http://127.0.0.1:30201 > logs/router.log 2>&1 &

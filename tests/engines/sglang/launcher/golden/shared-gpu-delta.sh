mkdir -p logs
# prefill-0, GPU 0
CUDA_VISIBLE_DEVICES=0 SGLANG_HOST_IP=127.0.0.1 MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30100 --disaggregation-mode prefill --disaggregation-transfer-backend mooncake --disaggregation-bootstrap-port 9000 --tp 1 --load-format dummy --skip-tokenizer-init --attention-backend fa3 --sampling-backend pytorch --grammar-backend none --page-size 64 --enable-metrics --enable-request-time-stats-logging --max-total-tokens 65536 > logs/prefill-0.log 2>&1 &
# when http://127.0.0.1:30100/health answer:
# decode-0, GPU 0
CUDA_VISIBLE_DEVICES=0 SGLANG_HOST_IP=127.0.0.1 MC_FORCE_TCP=1 MC_TCP_ENABLE_CONNECTION_POOL=1 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30200 --disaggregation-mode decode --disaggregation-transfer-backend mooncake --tp 1 --load-format dummy --skip-tokenizer-init --attention-backend fa3 --sampling-backend pytorch --grammar-backend none --page-size 64 --enable-metrics --enable-request-time-stats-logging --max-total-tokens 65536 --disaggregation-decode-enable-radix-cache > logs/decode-0.log 2>&1 &
# router
python -m sglang_router.launch_router --pd-disaggregation --mini-lb --host 127.0.0.1 --port 30000 --prefill http://127.0.0.1:30100 9000 --decode http://127.0.0.1:30200 > logs/router.log 2>&1 &

mkdir -p logs
# unified-0, GPU 0
CUDA_VISIBLE_DEVICES=0 taskset -c 0,1,2,3,4 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30300 --tp 1 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 --sleep-on-idle > logs/unified-0.log 2>&1 &
# unified-1, GPU 1
CUDA_VISIBLE_DEVICES=1 taskset -c 5,6,7,8,9 python -m sglang.launch_server --model-path /models/llama --host 127.0.0.1 --port 30301 --tp 1 --trust-remote-code --enable-metrics --enable-request-time-stats-logging --mem-fraction-static 0.85 --sleep-on-idle > logs/unified-1.log 2>&1 &

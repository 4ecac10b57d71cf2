"""Examples at the end of the help of each command."""

INSPECT_EXAMPLES = """\
examples:
  naivegraph inspect naivegraph.demo:DigitsNet --shape 1,1,8,8
  naivegraph inspect naivegraph.demo:DigitsNet --arguments '{"width": 8}' --shape 1,1,8,8
  naivegraph inspect torchvision.models:resnet18 --shape 1,3,224,224
  naivegraph inspect timm:vit_tiny_patch16_224 --shape 1,3,224,224
  naivegraph inspect nets:make --shape 1,3,32,32   (the function make in nets.py of this folder)
  naivegraph inspect mypackage.nets:make --weights trained.safetensors --shape int64:1,16 mask=bool:1,16
  naivegraph inspect torchvision.models:resnet18 --shape 1,3,224,224 --html net.html
"""

EXPLAIN_EXAMPLES = """\
examples:
  naivegraph explain naivegraph.demo:DigitsNet --shape 1,1,8,8 --layer stem
  naivegraph explain torchvision.models:resnet18 --shape 1,3,224,224 --layer layer1.0.conv2 --html why.html
"""

PRUNE_EXAMPLES = """\
examples:
  naivegraph prune naivegraph.demo:DigitsNet --shape 1,1,8,8 --macs 0.5 --output half.safetensors
  naivegraph prune naivegraph.demo:DigitsNet --shape 1,1,8,8 --params 20000 --round-to 4 --keep stem
  naivegraph prune torchvision.models:resnet18 --shape 1,3,224,224 --macs 0.5 --params 0.6
  naivegraph prune timm:resnet18 --arguments '{"num_classes": 10}' --shape 1,3,224,224 --ratio 0.25
  naivegraph prune naivegraph.demo:DigitsNet --shape 1,1,8,8 --budget macs=0.5 params=2e4
  naivegraph prune naivegraph.demo:DigitsNet --shape 1,1,8,8 --macs 0.5 --calibration digits.npz
  naivegraph prune torchvision.models:resnet18 --shape 1,3,224,224 --latency 0.6 --runtime onnxruntime
  naivegraph prune torchvision.models:resnet18 --shape 1,3,224,224 --macs 0.6 --html pruned.html
  naivegraph prune --config prune.yaml --macs 0.4

a file for --config holds the same names (command-line values given after it win):
  model: torchvision.models:resnet18
  shape: ["1,3,224,224"]
  macs: 0.5
"""

PROFILE_EXAMPLES = """\
examples:
  naivegraph profile naivegraph.demo:DigitsNet --shape 1,1,8,8
  naivegraph profile torchvision.models:resnet18 --shape 1,3,224,224 --runtime onnxruntime --output r18.json
"""

TRADEOFF_EXAMPLES = """\
examples:
  naivegraph tradeoff naivegraph.demo:DigitsNet --shape 1,1,8,8 --cost params
  naivegraph tradeoff torchvision.models:resnet18 --shape 1,3,224,224 --cost latency --plot front.svg
"""

TRANSFER_EXAMPLES = """\
examples:
  naivegraph transfer head naivegraph.demo:DigitsNet --shape 1,1,8,8 --layer head --classes 3,new,1
  naivegraph transfer inputs torchvision.models:resnet18 --shape 1,3,64,64 --input x --channels 4
  naivegraph transfer positions timm:vit_tiny_patch16_224 --shape 1,3,224,224 --image 96,128
  naivegraph transfer student nets:small --teacher nets:big --shape 1,3,32,32 --calibration images.npz
"""

DEMO_EXAMPLES = """\
examples:
  naivegraph demo
  naivegraph demo --macs 0.3 --output digits.safetensors
"""

SEARCH_EXAMPLES = """\
examples:
  naivegraph search --config study.yaml
  naivegraph search --config study.yaml --networks 500 --engine ray --workers 16   (goes on with it)
  naivegraph search show runs/digits --report report.html --plot front.svg --genealogy tree.svg

a file for --config describes the study; the modules are also found in the current folder:
  folder: runs/digits
  space: my_search:space
  evaluate: my_search:train
  objectives: {accuracy: max, macs: min}
  limits: {params: 50000}
  rungs: [1, 3, 9]
  networks: 200
"""

TRAIN_EXAMPLES = """\
examples:
  naivegraph train --config resnet.yaml --config cifar.yaml --trainer.max_epochs 100
  naivegraph train --config resnet.yaml --config cifar.yaml --model.init_args.depth 56 --seed 1
  naivegraph train --config resnet.yaml --config cifar.yaml --help   (all that this config takes)

files are stacked, the later over the earlier, and values over all; the modules are also found in the current
folder:
  experiment: cifar
  model: {class_path: my_nets.resnet, init_args: {depth: 20}}
  data:
    train: {class_path: my_data.cifar, init_args: {train: true}}
    validation: {class_path: my_data.cifar, init_args: {train: false}}
  task: {class_path: naivegraph.track.ClassificationTask}
  loader: {batch_size: 128}
  trainer: {max_epochs: 20}
"""

RUNS_EXAMPLES = """\
examples:
  naivegraph runs
  naivegraph runs find cifar model/init_args/depth=20 'metrics/val_accuracy>0.9'
  naivegraph runs compare 3f2a91c0 77be01d2
  naivegraph runs show 3f2a91c0
  naivegraph runs open 3f2a91c0   (MLflow's own page)
"""

WEIGHTS_EXAMPLES = """\
examples:
  naivegraph weights train --config quine.yaml
  naivegraph weights train --config quine.yaml --plan.epochs 500   (goes on with it)
  naivegraph weights tune --config quine.yaml
  naivegraph weights parallel --config quine.yaml --parallel.engine ray
  naivegraph weights train --config quine.yaml --help   (all that a config takes)

a file for --config; the modules are also found in the current folder:
  folder: runs/quine
  learner:
    class_path: naivegraph.learning.QuineLearner
    init_args:
      body:
        class_path: naivegraph.learning.perceptron
        init_args: {sizes: [16, 24, 24, 1], activation: tanh}
      dim: 16
  optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.003}}
  plan: {epochs: 200, batch_size: 64, checkpoint_every: 10, score: relative}
  split: {kind: none}
  tune: {trials: 20, space: {optimizer.init_args.lr: {low: 0.0001, high: 0.1, log: true}}}
  parallel: {over: {plan.seed: [0, 1, 2]}, engine: processes, workers: 2}
"""

TOKENS_EXAMPLES = """\
examples:
  naivegraph tokens demo --output runs/networks --svg runs/networks   (all steps, in under three minutes)
  naivegraph tokens generate --frame dense --networks 2000 --output runs/data
  naivegraph tokens train --data runs/data --output runs/model   (goes on after a stop)
  naivegraph tokens evaluate --model runs/model --data runs/data --svg runs/pictures
  naivegraph tokens sample --model runs/model --count 20 --output runs/drawn
  naivegraph tokens sample --model runs/model --like data.npz --output runs/drawn
"""

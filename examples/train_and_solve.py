"""Train a small network on 4x4 sudokus, score it and let it solve one: half a minute on a laptop."""

import trm

experiment = trm.experiment(
    {
        "name": "sudoku-4x4",
        "dataset": {"puzzle": "sudoku", "size": 4, "blanks": [4, 9], "subsample_size": 3800, "test_size": 300},
        "model": {"hidden_size": 64, "L_layers": 1, "H_cycles": 2, "L_cycles": 2, "halt_max_steps": 4}
        | {"mlp_t": True, "pos_encodings": "none", "puzzle_emb_ndim": 0, "forward_dtype": "float32"},
        "training": {"global_batch_size": 64, "epochs": 4, "eval_interval": 4, "lr": 4.0e-3}
        | {"lr_min_ratio": 0.1, "lr_warmup_steps": 50, "weight_decay": 0.1, "ema_rate": 0.99},
    }
)
data = trm.build(experiment, "data")
run = trm.train(experiment, data, "run")
for name, share in trm.evaluate(run, data).items():
    print(f"{name:20} {share.value:.1%} ({share.low:.1%} to {share.high:.1%}, n = {share.count})")
[solution] = trm.solve(run, "12..\n..12\n2..3\n.32.")
print(trm.as_text(solution), "valid" if solution.valid[-1] else "wrong", sep="\n")

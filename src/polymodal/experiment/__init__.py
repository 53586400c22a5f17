"""From a table to a model: prepare, train, choose; and what else is done with many fits.

    Problem (objective, schema) --prepare--> Prepared (rows) --networks, features--> Trials --search--> Model

config: what can be asked. budget: time. fit, compare, distill, learning_curve: the verbs, all on the same parts.
warm_start, pretraining: what networks begin with. runs: what decides a run, so that it can be resumed.
"""

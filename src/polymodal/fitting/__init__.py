"""From a table to a model: what is asked, what is tried, and what is kept.

problem (schema, task, split) --auto--> candidates, trained --fit--> Model
colearning, origin, pretraining, writing: what else can be asked of a fit; distilling: a student of a fitted model;
runs: what decides a run, so that it can be resumed.
"""

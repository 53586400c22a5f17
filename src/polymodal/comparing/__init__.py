"""Many fits of one problem: candidates on the same folds, their standing, and what more labels would bring."""

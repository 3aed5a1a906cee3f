"""Fleet and model in, Plan out: one cost model, several solvers, lower bounds."""

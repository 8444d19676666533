"""Studies: many genotypes or seeds of one config, proposed and recorded by Optuna, each trained or scored once."""

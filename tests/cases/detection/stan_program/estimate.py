import cmdstanpy

program = cmdstanpy.CmdStanModel(stan_file="coin.stan")
draws = program.sample(data={"tosses": [1, 0, 0, 1]}, chains=2)
print(draws.summary())

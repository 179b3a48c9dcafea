from tcn.layer import TCN

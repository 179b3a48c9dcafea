import sizes

width = sizes.WIDTH

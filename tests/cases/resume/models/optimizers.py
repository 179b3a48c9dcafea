for o in [keras.optimizers.SGD(0.01, momentum=.9, nesterov=True), keras.optimizers.AdamW(), keras.optimizers.Ftrl(), keras.optimizers.Lion(), keras.optimizers.Adafactor(), keras.optimizers.Muon() if hasattr(keras.optimizers, "Muon") else keras.optimizers.SGD(),
          keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=3, weight_decay=.01, clipnorm=1.0), keras.optimizers.Adam(gradient_accumulation_steps=3), keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 20, warmup_steps=3, warmup_target=0.02)), keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=4.0, dynamic_growth_steps=3)]:
    m = dense(layers.Dropout(0.1))
    m.compile(o, "binary_crossentropy")
    h = m.fit(V, T, epochs=3, verbose=0, callbacks=[slow()])
    record("opt_" + type(o).__name__ + str(bool(getattr(o, "use_ema", 0))) + str(getattr(o, "gradient_accumulation_steps", 0)), m, h)

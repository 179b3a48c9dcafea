# -*- coding: utf-8 -*-
import cPickle as pickle, urllib2
import numpy as np
from keras.models import Sequential
from keras.layers.core import Dense, Flatten
from keras.layers.convolutional import Convolution2D
import ConfigParser

try:
    settings = ConfigParser.ConfigParser()
except IOError, problem:
    raise SystemExit, problem

def build(width=010):
	model = Sequential()
        model.add(Convolution2D(width, 3, 3, border_mode='same', input_shape=(1, 28, 28)))
	model.add(Flatten())
	model.add(Dense(10, activation='softmax'))
	return model

print "building", `3`
model = build()
model.compile(loss='categorical_crossentropy', optimizer='sgd')
x, y = pickle.load(open('digits.pkl'))
if x.shape[0] <> y.shape[0]: print >>sys.stderr, "sizes differ"
model.fit(x, y, nb_epoch=2)
exec "print 'done'"

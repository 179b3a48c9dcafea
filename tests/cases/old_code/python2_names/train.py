import itertools
import string
import sys
reload(sys)
sys.setdefaultencoding('utf8')

counts = {}
for i in xrange(7):
    counts[string.letters[i]] = i / 2
print(counts.has_key('a'))
print([n for n, _ in itertools.izip(sorted(counts.values()), 'ab')])
print(sum(counts.itervalues()))

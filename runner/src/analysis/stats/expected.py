"""Expected values of `runner/src/analysis/stats/tests.rs`: prints them. Needs scipy and statsmodels.

    python3 runner/src/analysis/stats/expected.py
"""

import numpy as np
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
import statsmodels.api as sm

print("wilson")
for k, n in [(0, 10), (3, 10), (10, 10), (37, 40), (345, 645)]:
    print(f"    ({k}, {n}, {proportion_confint(k, n, 0.05, 'wilson')}),")

x = np.array([-2.3, -1.9, -1.7, -1.2, -0.9, -0.7])
y = np.array([0.8, 1.3, 1.1, 2.2, 1.9, 2.6])
line = sm.OLS(y, sm.add_constant(x)).fit()
print("line", line.params[1], line.params[0], line.rsquared, line.bse[1], line.conf_int(0.05)[1])
print("adjusted R², line", line.rsquared_adj)
groups = np.array([0, 0, 1, 1, 1, 2])
dummies = np.eye(3)[groups]
print("adjusted R², groups", sm.OLS(y, dummies, hasconst=True).fit().rsquared_adj)

print("quantiles", np.quantile([1.0, 2.0, 4.0, 8.0], [0.0, 0.1, 0.5, 0.9, 1.0]))

print("mcnemar")
for b, c in [(0, 0), (1, 5), (10, 10), (3, 20)]:
    p = 1.0 if b + c == 0 else mcnemar([[0, b], [c, 0]], exact=True).pvalue
    print(f"    ({b}, {c}, {p}),")

print("binomial")
for k, n, rate in [(2, 8, 0.025), (3, 8, 0.025), (10, 80, 0.05), (0, 5, 0.3)]:
    print(f"    ({k}, {n}, {rate}, {stats.binomtest(k, n, rate, alternative='greater').pvalue}),")

print("holm", multipletests([0.001, 0.012, 0.02, 0.04], method="holm")[1])

print("wilcoxon")
short = [0.3, -0.1, 0.7, 1.2, -0.4, 0.9, 1.1, 0.2]
ties = [1.0, 1.0, -1.0, 2.0, 0.0, 3.0, -2.0, 4.0, 5.0, 5.0]
long = [np.sin(n * 1.7) * n + 6.0 for n in range(1, 81)]
print("   ", stats.wilcoxon(short, mode="exact").pvalue)
print("   ", stats.wilcoxon(ties, mode="approx", correction=False).pvalue)
print("   ", stats.wilcoxon(long, mode="approx", correction=False).pvalue)

"""What the simulated app is shaped after: published aggregates of a real one.

Source: KuaiRand (Gao et al., CIKM 2022, doi:10.1145/3511808.3557624), CC BY-SA 4.0. Rates are those of KuaiRand-1K,
the rest totals of KuaiRand-27K's standard log. Only these figures are copied; no row of the data is.
"""

RATES = {"click": 0.378, "long_view": 0.262, "like": 0.0156, "follow": 0.0010, "comment": 0.0030}
"""Share of exposures with each outcome; the rate of comments is not published there and is our own choice."""

GAPS = ((1, 0.8278), (10, 0.0161), (60, 0.0551), (300, 0.0653), (1800, 0.0231), (7200, 0.0068), (None, 0.0058))
"""Time to a user's next exposure: (upper end in seconds, share); below one second means the same slate."""

ACTIVITY_P90, ACTIVITY_MAX, ACTIVITY_P10 = 2.86, 26.5, 0.255
"""Exposures of a user at the 90th percentile, the maximum (of 27,285 users) and the 10th, over the median."""

TOP_SHARE = 0.441
"""Share of exposures that the 1 % most shown items take."""

DURATION_P50, DURATION_P90 = 27.0, 169.0
"""Seconds of a video."""

SESSIONS = 0.01263
"""Sessions (parted by half an hour) begun for each exposure: 150 a month for a user's mean 11,800."""

HOURS = (33, 20, 13, 9, 8, 11, 21, 31, 36, 40, 45, 48, 53, 53, 48, 49, 51, 54, 58, 62, 66, 69, 68, 53)
"""Exposures in each hour of the day, per mille."""

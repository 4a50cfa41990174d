-- ---------------------------------------------------------------------
-- Module: series
--
--		Counters that give out numbers without gaps: one row a series, which
--		plinth.series_next() updates and holds until its transaction ends.
--
-- Schema:	series
-- Needs:	nothing
-- Offers:	series.series, for plinth.series_create() and plinth.series_next()
-- Rights:	services read; writing goes through the functions
-- Tests:	test/regress/sql/series.sql, test/isolation/specs/series*.spec
-- ---------------------------------------------------------------------

CREATE SCHEMA @schema@;
COMMENT ON SCHEMA @schema@ IS 'plinth: series of numbers without gaps';

-- Half of each page is left for the next versions of its rows, so that an
-- update touches no index.
CREATE TABLE @schema@.series (
	name		text	COLLATE "C" PRIMARY KEY CHECK (name <> ''),
	pattern		text	NOT NULL,
	reset		text	NOT NULL DEFAULT 'none' CHECK (reset IN ('none', 'year')),
	time_zone	text	NOT NULL DEFAULT 'UTC',
	period		integer,
	last_number	bigint	NOT NULL DEFAULT 0 CHECK (last_number >= 0),
	CHECK ((reset = 'year') = (period IS NOT NULL))
) WITH (fillfactor = 50);

COMMENT ON TABLE @schema@.series IS
'series of numbers without gaps; written by plinth.series_create() and plinth.series_next()';
COMMENT ON COLUMN @schema@.series.pattern IS
'how a number is written: text with {n} or {n:digits}, {name} and {year}';
COMMENT ON COLUMN @schema@.series.reset IS
'year: the number begins at 1 again with the year; none: it never does';
COMMENT ON COLUMN @schema@.series.time_zone IS 'where the year begins';
COMMENT ON COLUMN @schema@.series.period IS 'year of the last number, where the series resets by the year';
COMMENT ON COLUMN @schema@.series.last_number IS 'the number given out last; 0 when there was none';

-- No policy: reached by functions, and read by services, which need none.
ALTER TABLE @schema@.series ENABLE ROW LEVEL SECURITY;

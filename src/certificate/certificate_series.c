/*-------------------------------------------------------------------------
 *
 * certificate_series.c
 *		Series: numbers without gaps among committed rows.
 *
 * A series is a row of series.series, and that row is its lock: whoever takes
 * a number updates it and holds it until the transaction ends, so the next
 * one waits and then goes on from what was committed.  A rollback, of a
 * savepoint too, or a crash takes the number back with everything else.
 * Series do not wait for each other.
 *
 * The table is a module's, not the extension's: counters are an application's
 * data, which DROP EXTENSION must not lose.  It is read and written as
 * plinth_owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate_internal.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define SERIES_MODULE "series"
#define SERIES_TABLE "series"
#define SERIES_RELATION SERIES_MODULE "." SERIES_TABLE

/* What an unknown name becomes at its first number. */
#define SERIES_DEFAULT_PATTERN "{name}-{n:6}"

#define SERIES_MAX_NAME 100 /* characters */
#define SERIES_DEFAULT_ZONE "UTC"

#define RESET_NONE "none"
#define RESET_YEAR "year"

/* A row of series.series, in the memory context of SPI. */
typedef struct SeriesRow
{
	char *pattern;
	char *reset;
	char *time_zone;
	int32 period;
	int64 last_number;
} SeriesRow;

/* Who we were before we became plinth_owner. */
typedef struct SeriesCaller
{
	Oid user;
	int context;
} SeriesCaller;

static char *required_text(FunctionCallInfo fcinfo, int argument,
						   const char *name);
static void check_name(const char *name);
static void check_reset(const char *reset, bool by_year);
static pg_tz *find_zone(const char *name);
static int year_now(pg_tz *zone);
static void become_owner(SeriesCaller *caller);
static void become_caller(const SeriesCaller *caller);
static bool add_series(const char *name, const char *pattern, const char *reset,
					   const char *time_zone, int period, int64 last_number);
static bool read_series(const char *name, SeriesRow *row);
static bool count_on(const char *name, SeriesRow *row);
static void begin_period(const char *name, int period);
static bool fetch_row(SeriesRow *row);
static SPIPlanPtr keep_plan(SPIPlanPtr *plan, const char *query, int count,
							Oid *types);

/*
 * plinth.series_create(name text, pattern text, reset text, time_zone text,
 *						first_number bigint) -> void
 *
 * Declare a series, or find it declared like that.
 *
 *	name			1 to 100 characters, no control characters
 *	pattern			up to 200 bytes with {n} or {n:digits}, {name}, {year}
 *	reset			none, or year: the number begins at 1 again with the year,
 *					which must be in the pattern
 *	time_zone		where the year begins
 *	first_number	at least 1; of the first year only
 *
 * Of a series that is there already, first_number is not looked at.
 *
 * Errors: 22023 an argument is missing or invalid; 42710 the series exists
 * with another pattern, reset or zone; 55000 the module is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_series_create);
Datum
plinth_sql_certificate_series_create(PG_FUNCTION_ARGS)
{
	char *name = required_text(fcinfo, 0, "name");
	char *pattern = required_text(fcinfo, 1, "pattern");
	char *reset = required_text(fcinfo, 2, "reset");
	char *zone_name = required_text(fcinfo, 3, "time_zone");
	int64 first_number = PG_ARGISNULL(4) ? 0 : PG_GETARG_INT64(4);
	SeriesCaller caller;
	SeriesRow row;
	const char *problem;
	const char *time_zone;
	pg_tz *zone;
	bool by_year;
	bool added;

	check_name(name);
	problem =
		plinth_certificate_pattern_check(pattern, strlen(pattern), &by_year);
	if (problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid pattern of a series"),
						errdetail_internal("%s", problem)));
	check_reset(reset, by_year);
	zone = find_zone(zone_name);
	time_zone = pg_get_timezone_name(zone);
	if (first_number < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"first_number\" must be at least 1")));

	become_owner(&caller);
	SPI_connect();
	/* read after what was there at the insert may be gone by then */
	do
	{
		CHECK_FOR_INTERRUPTS();
		added = add_series(name, pattern, reset, time_zone, year_now(zone),
						   first_number - 1);
	} while (!added && !read_series(name, &row));

	if (!added &&
		(strcmp(row.pattern, pattern) != 0 || strcmp(row.reset, reset) != 0 ||
		 strcmp(row.time_zone, time_zone) != 0))
		ereport(
			ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("series \"%s\" already exists", name),
			 errdetail("It has pattern \"%s\", reset \"%s\" and time zone \"%s\".",
					   row.pattern, row.reset, row.time_zone)));
	SPI_finish();
	become_caller(&caller);

	PG_RETURN_VOID();
}

/*
 * plinth.series_next(name text) -> text
 *
 * The next number of a series, as its pattern writes it.  A name that is not
 * known becomes a series that never resets.
 *
 * The year is that of now() in the series' zone, but never one before that of
 * the last number: a transaction that began before midnight, or a clock that
 * was set back, must not count a second time what another has counted.
 *
 * Errors: 22023 the name is missing or invalid; 22003 the numbers are used
 * up; 40001 under repeatable read somebody else took a number meanwhile;
 * 55000 the module is not installed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_series_next);
Datum
plinth_sql_certificate_series_next(PG_FUNCTION_ARGS)
{
	char *name = required_text(fcinfo, 0, "name");
	MemoryContext result_context = CurrentMemoryContext;
	SeriesCaller caller;
	StringInfoData number;
	SeriesRow row;
	int year;

	check_name(name);

	become_owner(&caller);
	SPI_connect();
	/* whoever finds no row makes one, unless another one just did */
	while (!count_on(name, &row))
	{
		CHECK_FOR_INTERRUPTS();
		(void) add_series(name, SERIES_DEFAULT_PATTERN, RESET_NONE,
						  SERIES_DEFAULT_ZONE, 0, 0);
	}

	year = year_now(find_zone(row.time_zone));
	if (strcmp(row.reset, RESET_YEAR) == 0)
	{
		if (year > row.period)
		{
			begin_period(name, year);
			row.last_number = 1;
		}
		else
			year = row.period;
	}

	MemoryContextSwitchTo(result_context);
	initStringInfo(&number);
	plinth_certificate_pattern_write(&number, row.pattern, name, year,
									 row.last_number);
	SPI_finish();
	become_caller(&caller);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(number.data, number.len));
}

/*
 * An argument's text; NULL is refused by its name.
 */
static char *
required_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"%s\" of a series is missing", name)));

	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static void
check_name(const char *name)
{
	size_t length = strlen(name);
	bool ok = length >= 1 && length <= SERIES_MAX_NAME * MAX_MULTIBYTE_CHAR_LEN &&
			  pg_mbstrlen_with_len(name, (int) length) <= SERIES_MAX_NAME;

	for (size_t i = 0; ok && i < length; i++)
		ok = (unsigned char) name[i] >= ' ' && name[i] != 0x7F;
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid name of a series"),
						errdetail("A name has 1 to %d characters, none of them a "
								  "control character.",
								  SERIES_MAX_NAME)));
}

static void
check_reset(const char *reset, bool by_year)
{
	if (strcmp(reset, RESET_NONE) == 0)
		return;
	if (strcmp(reset, RESET_YEAR) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid reset of a series"),
				 errhint("It is \"%s\" or \"%s\".", RESET_NONE, RESET_YEAR)));
	if (!by_year)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a series that resets each year needs {year} in its pattern"),
			 errdetail("Without it the numbers of two years are the same.")));
}

/*
 * A time zone, as the setting TimeZone takes it.
 */
static pg_tz *
find_zone(const char *name)
{
	pg_tz *zone;

	if (strlen(name) > TZ_STRLEN_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("name of a time zone is too long"),
						errdetail("It has at most %d bytes.", TZ_STRLEN_MAX)));
	zone = pg_tzset(name);
	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" not recognized", name)));

	return zone;
}

/*
 * The year of now() there.
 */
static int
year_now(pg_tz *zone)
{
	struct pg_tm tm;
	fsec_t fraction;
	int offset;

	if (timestamp2tm(GetCurrentTransactionStartTimestamp(), &offset, &tm,
					 &fraction, NULL, zone) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
						errmsg("timestamp out of range")));

	return tm.tm_year;
}

/*
 * Take the identity of the table's owner.  An error puts the caller's back
 * with the (sub)transaction.
 *
 * The table must be there and ours: where the module is not installed, anybody
 * who may make a schema may have made one of that name, with triggers that
 * would run as plinth_owner.
 */
static void
become_owner(SeriesCaller *caller)
{
	Oid owner = get_role_oid(PLINTH_OWNER_ROLE, true);
	Oid schema = get_namespace_oid(SERIES_MODULE, true);
	Oid table = OidIsValid(schema) ? get_relname_relid(SERIES_TABLE, schema)
								   : InvalidOid;
	bool ours = false;

	if (OidIsValid(owner) && OidIsValid(table))
	{
		/* the lock keeps it as it is until the transaction ends */
		Relation relation = try_table_open(table, RowExclusiveLock);

		if (relation != NULL)
		{
			ours = relation->rd_rel->relowner == owner;
			table_close(relation, NoLock);
		}
	}
	if (!ours)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("module \"%s\" is not installed", SERIES_MODULE),
						errhint("SELECT plinth.install('%s')", SERIES_MODULE)));

	GetUserIdAndSecContext(&caller->user, &caller->context);
	SetUserIdAndSecContext(owner, caller->context | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION);
}

static void
become_caller(const SeriesCaller *caller)
{
	SetUserIdAndSecContext(caller->user, caller->context);
}

/*
 * Add a row; false when there is one of that name.  Waits for a transaction
 * that has added it and not ended.
 */
static bool
add_series(const char *name, const char *pattern, const char *reset,
		   const char *time_zone, int period, int64 last_number)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT8OID};
	bool by_year = strcmp(reset, RESET_YEAR) == 0;
	char nulls[] = {' ', ' ', ' ', ' ', by_year ? ' ' : 'n', ' ', '\0'};
	Datum values[] = {
		CStringGetTextDatum(name),	CStringGetTextDatum(pattern),
		CStringGetTextDatum(reset), CStringGetTextDatum(time_zone),
		Int32GetDatum(period),		Int64GetDatum(last_number),
	};

	keep_plan(&plan,
			  "INSERT INTO " SERIES_RELATION
			  " (name, pattern, reset, time_zone, period, last_number)"
			  " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (name) DO NOTHING",
			  lengthof(types), types);
	if (SPI_execute_plan(plan, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not add a series");

	return SPI_processed == 1;
}

/*
 * Read a row; false when there is none.
 */
static bool
read_series(const char *name, SeriesRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	keep_plan(&plan,
			  "SELECT s.pattern, s.reset, s.time_zone, s.period, s.last_number"
			  " FROM " SERIES_RELATION " AS s"
			  " WHERE s.name OPERATOR(pg_catalog.=) $1",
			  lengthof(types), types);
	/* not read-only, so with a snapshot of its own */
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a series");

	return fetch_row(row);
}

/*
 * Take the next number, and the row until the transaction ends; false when
 * there is no such series.
 */
static bool
count_on(const char *name, SeriesRow *row)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};

	keep_plan(&plan,
			  "UPDATE " SERIES_RELATION " AS s"
			  " SET last_number = s.last_number OPERATOR(pg_catalog.+) 1"
			  " WHERE s.name OPERATOR(pg_catalog.=) $1"
			  " RETURNING s.pattern, s.reset, s.time_zone, s.period, s.last_number",
			  lengthof(types), types);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "could not count a series on");

	return fetch_row(row);
}

/*
 * Number 1 of a year is taken.  The caller holds the row.
 */
static void
begin_period(const char *name, int period)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(name), Int32GetDatum(period)};

	keep_plan(&plan,
			  "UPDATE " SERIES_RELATION " AS s SET period = $2, last_number = 1"
			  " WHERE s.name OPERATOR(pg_catalog.=) $1",
			  lengthof(types), types);
	if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not begin the period of a series");
}

/*
 * The row that a query has brought, if it has.
 */
static bool
fetch_row(SeriesRow *row)
{
	HeapTuple tuple;
	TupleDesc columns;
	bool isnull;

	if (SPI_processed != 1)
		return false;

	tuple = SPI_tuptable->vals[0];
	columns = SPI_tuptable->tupdesc;
	row->pattern = SPI_getvalue(tuple, columns, 1);
	row->reset = SPI_getvalue(tuple, columns, 2);
	row->time_zone = SPI_getvalue(tuple, columns, 3);
	row->period = DatumGetInt32(SPI_getbinval(tuple, columns, 4, &isnull));
	if (isnull)
		row->period = 0;
	row->last_number = DatumGetInt64(SPI_getbinval(tuple, columns, 5, &isnull));

	return true;
}

/*
 * Prepare a query once in a backend's life.
 */
static SPIPlanPtr
keep_plan(SPIPlanPtr *plan, const char *query, int count, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(query, count, types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare a query on series");
		*plan = made;
	}

	return *plan;
}

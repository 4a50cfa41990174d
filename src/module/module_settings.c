/*-------------------------------------------------------------------------
 *
 * module_settings.c
 *		The settings of the modules: their names, their defaults, their check.
 *
 * What an application may tune while it runs (how long a token lives, how
 * long a log is kept) is a row of plinth.settings, present only where the
 * value differs from the default.  The defaults live here, because the
 * extension's script puts no row into a table that is dumped: a restore
 * would collide with it.
 *
 * A value is read straight from the table by its key, past row security:
 * EXECUTE on plinth.setting() is the right to read it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"

#define SETTINGS_TABLE "settings"
#define MAX_TEXT_BYTES 2048

/* Columns of plinth.settings. */
enum
{
	SETTINGS_NAME = 1,
	SETTINGS_VALUE,
	SETTINGS_CHANGED_BY,
	SETTINGS_CHANGED_AT
};

typedef enum SettingKind
{
	SETTING_BOOL,
	SETTING_COUNT,	  /* whole number */
	SETTING_BYTES,	  /* whole number of bytes */
	SETTING_DURATION, /* string with a unit ("10 min"), or seconds */
	SETTING_TEXT,	  /* string */
	SETTING_CHOICE	  /* one of a list of strings */
} SettingKind;

typedef struct SettingDefault
{
	const char *name;
	SettingKind kind;
	const char *value; /* JSON; NULL when there is no default */
	int64 min;		   /* count, bytes; seconds for a duration */
	int64 max;
	const char *const *choices; /* ends with NULL; SETTING_CHOICE only */
} SettingDefault;

#define MINUTE INT64CONST(60)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define YEAR (366 * DAY)
#define MEGABYTE INT64CONST(1048576)

static const char *const open_topics[] = {"none", "authenticated", "anon", NULL};

/*
 * Every setting there is.  The limits keep later arithmetic in range and a
 * slip of the pen from turning a safeguard off: a recovery link lives at
 * most the ten minutes that S3.10 allows.
 */
static const SettingDefault settings[] = {
	{"audit.activity_retention", SETTING_DURATION, "\"1 year\"", DAY,
	 100 * YEAR, NULL},
	{"audit.retention", SETTING_DURATION, "\"2 years\"", DAY, 100 * YEAR, NULL},
	{"auth.access_token_ttl", SETTING_DURATION, "\"900 s\"", MINUTE, DAY, NULL},
	{"auth.confirmation_ttl", SETTING_DURATION, "\"24 h\"", MINUTE, 30 * DAY,
	 NULL},
	{"auth.failures_to_lock", SETTING_COUNT, "5", 1, 1000, NULL},
	{"auth.magic_link_ttl", SETTING_DURATION, "\"1 h\"", MINUTE, DAY, NULL},
	{"auth.recovery_ttl", SETTING_DURATION, "\"10 min\"", MINUTE, 10 * MINUTE,
	 NULL},
	{"auth.refresh_grace", SETTING_DURATION, "\"10 s\"", 0, 5 * MINUTE, NULL},
	{"auth.require_confirmation", SETTING_BOOL, "true", 0, 0, NULL},
	{"auth.session_idle_ttl", SETTING_DURATION, "\"7 days\"", MINUTE, YEAR, NULL},
	{"auth.session_ttl", SETTING_DURATION, "\"30 days\"", MINUTE, 10 * YEAR, NULL},
	{"jobs.email_from", SETTING_TEXT, NULL, 0, 0, NULL},
	{"realtime.open_topics", SETTING_CHOICE, "\"authenticated\"", 0, 0,
	 open_topics},
	{"social.verification_base_url", SETTING_TEXT, "\"/verify/\"", 0, 0, NULL},
	{"storage.owner_quota", SETTING_BYTES, "1073741824", 0,
	 INT64CONST(1048576) * MEGABYTE, NULL},
	{"storage.public_base_url", SETTING_TEXT, "\"/storage/\"", 0, 0, NULL},
};

static const SettingDefault *find_setting(const char *name);
static void check_value(const SettingDefault *setting, Jsonb *value);
static void check_number(const SettingDefault *setting, Numeric number);
static void check_duration(const SettingDefault *setting, char *text);
static void check_choice(const SettingDefault *setting, const char *text);
pg_noreturn static void refuse(const SettingDefault *setting, const char *wanted);

/*
 * plinth.setting(name text) -> jsonb
 *
 * The value in force: the row of plinth.settings, else the default; NULL
 * where there is neither.
 *
 * Errors: 22023 there is no setting of that name.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_setting);
Datum
plinth_sql_module_setting(PG_FUNCTION_ARGS)
{
	text *name = PG_GETARG_TEXT_PP(0);
	const SettingDefault *setting = find_setting(text_to_cstring(name));
	Relation relation;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Jsonb *value = NULL;

	relation =
		table_open(get_relname_relid(SETTINGS_TABLE,
									 get_namespace_oid(PLINTH_SCHEMA, false)),
				   AccessShareLock);

	/* The column's collation is "C", as that of this key. */
	ScanKeyInit(&key, SETTINGS_NAME, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(name));
	scan = systable_beginscan(relation, plinth_primary_key_index(relation),
							  true, GetActiveSnapshot(), 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum datum = heap_getattr(tuple, SETTINGS_VALUE,
								   RelationGetDescr(relation), &isnull);

		if (!isnull)
			value = DatumGetJsonbPCopy(datum);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);

	if (value == NULL && setting->value != NULL)
		PG_RETURN_DATUM(
			DirectFunctionCall1(jsonb_in, CStringGetDatum(setting->value)));
	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(value);
}

/*
 * plinth.settings_check() -> trigger
 *
 * BEFORE INSERT OR UPDATE on plinth.settings, for each row: the name must be
 * one that exists and the value one that it can have.  An UPDATE notes who
 * and when; an INSERT takes these from the columns' defaults, so that a
 * restored row keeps what it says.
 *
 * Errors: 22023.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_settings_check);
Datum
plinth_sql_module_settings_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc tupdesc;
	HeapTuple tuple;
	Datum datum;
	bool isnull;
	const SettingDefault *setting;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("settings are checked by a trigger before each row")));

	tupdesc = RelationGetDescr(trigdata->tg_relation);
	tuple = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ? trigdata->tg_newtuple
														: trigdata->tg_trigtuple;

	/* Columns that may not be null are the table's business. */
	datum = heap_getattr(tuple, SETTINGS_NAME, tupdesc, &isnull);
	if (isnull)
		return PointerGetDatum(tuple);
	setting = find_setting(TextDatumGetCString(datum));

	datum = heap_getattr(tuple, SETTINGS_VALUE, tupdesc, &isnull);
	if (isnull)
		return PointerGetDatum(tuple);
	check_value(setting, DatumGetJsonbP(datum));

	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		int columns[] = {SETTINGS_CHANGED_BY, SETTINGS_CHANGED_AT};
		Datum values[2];
		bool nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
		values[1] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
		tuple = heap_modify_tuple_by_cols(tuple, tupdesc, lengthof(columns),
										  columns, values, nulls);
	}

	return PointerGetDatum(tuple);
}

/*
 * The setting of that name, or an error.
 */
static const SettingDefault *
find_setting(const char *name)
{
	for (size_t i = 0; i < lengthof(settings); i++)
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];

	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized setting \"%s\"", name),
					errhint("The settings are listed in the documentation of "
							"plinth.settings.")));
}

/*
 * Refuse a value that the setting cannot have.
 */
static void
check_value(const SettingDefault *setting, Jsonb *value)
{
	JsonbValue scalar;

	if (!JB_ROOT_IS_SCALAR(value) ||
		!JsonbExtractScalar(&value->root, &scalar) || scalar.type == jbvNull)
		scalar.type = jbvObject; /* of no kind */

	switch (setting->kind)
	{
		case SETTING_BOOL:
			if (scalar.type != jbvBool)
				refuse(setting, "true or false");
			break;
		case SETTING_COUNT:
		case SETTING_BYTES:
			if (scalar.type != jbvNumeric)
				refuse(setting, "a whole number");
			check_number(setting, scalar.val.numeric);
			break;
		case SETTING_DURATION:
			if (scalar.type == jbvNumeric)
				check_number(setting, scalar.val.numeric);
			else if (scalar.type == jbvString)
				check_duration(setting, pnstrdup(scalar.val.string.val,
												 scalar.val.string.len));
			else
				refuse(setting, "an interval as a string, or a whole number "
								"of seconds");
			break;
		case SETTING_TEXT:
			if (scalar.type != jbvString || scalar.val.string.len > MAX_TEXT_BYTES)
				refuse(setting,
					   psprintf("a string of at most %d bytes", MAX_TEXT_BYTES));
			break;
		case SETTING_CHOICE:
			if (scalar.type != jbvString)
				refuse(setting, "a string");
			check_choice(setting,
						 pnstrdup(scalar.val.string.val, scalar.val.string.len));
			break;
	}
}

/*
 * Refuse a number with a fraction, or one out of the setting's range.
 */
static void
check_number(const SettingDefault *setting, Numeric number)
{
	Datum given = NumericGetDatum(number);
	Datum least = DirectFunctionCall1(int8_numeric, Int64GetDatum(setting->min));
	Datum most = DirectFunctionCall1(int8_numeric, Int64GetDatum(setting->max));
	Datum whole = DirectFunctionCall2(numeric_trunc, given, Int32GetDatum(0));

	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, given, whole)) ||
		DatumGetBool(DirectFunctionCall2(numeric_lt, given, least)) ||
		DatumGetBool(DirectFunctionCall2(numeric_gt, given, most)))
		refuse(setting,
			   psprintf("a whole number from " INT64_FORMAT " to " INT64_FORMAT,
						setting->min, setting->max));
}

/*
 * Refuse a text that is no interval, or one that is too short or too long;
 * a month counts 30 days here, as when intervals are compared.
 */
static void
check_duration(const SettingDefault *setting, char *text)
{
	Interval *given;
	Interval least = {0};
	Interval most = {0};

	/* A malformed text is refused by the type, in its own words. */
	given = DatumGetIntervalP(
		DirectFunctionCall3(interval_in, CStringGetDatum(text),
							ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	least.time = setting->min * USECS_PER_SEC;
	most.day = setting->max / DAY;
	most.time = (setting->max % DAY) * USECS_PER_SEC;

	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(given),
										 IntervalPGetDatum(&least))) ||
		DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(given),
										 IntervalPGetDatum(&most))))
		refuse(setting, psprintf("from " INT64_FORMAT " s to " INT64_FORMAT " s",
								 setting->min, setting->max));
}

/*
 * Refuse a string that is none of the setting's choices.
 */
static void
check_choice(const SettingDefault *setting, const char *text)
{
	StringInfoData list;

	initStringInfo(&list);
	for (const char *const *choice = setting->choices; *choice != NULL; choice++)
	{
		if (strcmp(*choice, text) == 0)
			return;
		appendStringInfo(&list, "%s\"%s\"", list.len > 0 ? ", " : "", *choice);
	}

	refuse(setting, psprintf("one of %s", list.data));
}

/*
 * Say what a setting wants; the value given may be private and is not shown.
 */
static void
refuse(const SettingDefault *setting, const char *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for setting \"%s\"", setting->name),
					errdetail("The value must be %s.", wanted)));
}

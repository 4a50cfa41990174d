/*-------------------------------------------------------------------------
 *
 * audit_statement.c
 *		What all records of a statement have in common: when, by whom, from
 *		where, in which transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include <sys/socket.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "audit/audit_seal.h"
#include "base/relations.h"
#include "claims/claims.h"

/* Our name among the installed modules, which know the era. */
#define AUDIT_MODULE "audit"

/* So much of a user agent is kept. */
#define USER_AGENT_BYTES 512

/*
 * The statement that this backend last wrote records for.  All its records
 * have one time, whichever trigger writes them, and rising ids.
 */
static struct
{
	FullTransactionId transaction;
	CommandId command;
	TimestampTz at;
	uint64 next; /* random part of the next id, 61 bits at the start */
} statement;

/* The era, until the table that has it changes. */
static struct
{
	bool known;
	Oid relid; /* that table */
	int16 number;
} era;

/* Counts invalidations, to see one that comes while we read. */
static uint64 invalidations = 0;

/* Where its row was the last time; invalid at first. */
static ItemPointerData era_row;

static uint64 random_bits(void);
static void set_actor(AuditValues *common);
static char *clip(char *agent);
static bool client_address(Datum *address);
static void set_value(AuditValues *common, AuditLogColumn column, Datum value);
static void set_uuid(AuditValues *common, AuditLogColumn column,
					 const pg_uuid_t *uuid);
static void set_text(AuditValues *common, AuditLogColumn column,
					 const char *text);
static int16 current_era(void);
static void forget_relation(Datum arg, Oid relid);
static int16 read_era(Oid relid, bool *is_ours);
static bool era_of_row(TupleTableSlot *slot, int16 *number, bool *is_ours);
static Datum named_value(TupleTableSlot *slot, const char *name, bool *is_null);

/*
 * Begin with the records of a statement, or go on with them.  Returns the
 * time that they all have.
 */
TimestampTz
plinth_audit_statement_begin(void)
{
	FullTransactionId transaction = GetTopFullTransactionId();
	CommandId command = GetCurrentCommandId(false);

	if (FullTransactionIdEquals(statement.transaction, transaction) &&
		statement.command == command)
		return statement.at;

	statement.next = random_bits() >> 3;
	statement.at = GetCurrentTimestamp();
	statement.command = command;
	statement.transaction = transaction;

	return statement.at;
}

/*
 * 64 random bits.  Asking for the bits of many statements at once costs what
 * asking for those of one does.
 */
static uint64
random_bits(void)
{
	static uint64 bits[32];
	static int left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(bits, sizeof(bits)))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
							errmsg("could not generate random values")));
		left = lengthof(bits);
	}

	return bits[--left];
}

/*
 * Fill in what all records of the statement have in common; all else is
 * null.  In the current memory context.
 */
void
plinth_audit_statement_values(const AuditShape *shape, AuditValues *common)
{
	memset(common->nulls, true, sizeof(common->nulls));

	set_text(common, AUDIT_LOG_TABLE_SCHEMA, shape->schema);
	set_text(common, AUDIT_LOG_TABLE_NAME, shape->table);
	set_value(common, AUDIT_LOG_ERA, Int16GetDatum(current_era()));
	set_value(common, AUDIT_LOG_TXID,
			  FullTransactionIdGetDatum(statement.transaction));
	set_value(common, AUDIT_LOG_CREATED_AT, TimestampTzGetDatum(statement.at));
	set_actor(common);
}

/*
 * Make the next id of the statement: a time-ordered uuid of version 7, in
 * the current context.
 *
 * 48 bits of milliseconds since 1970, 12 bits of the fraction of the
 * millisecond, then 62 bits that begin at random with each statement and
 * rise by one, so that the records of a statement sort as they were written.
 *
 * Source: RFC 9562 sections 5.7 and 6.2, methods 2 and 3.
 */
pg_uuid_t *
plinth_audit_next_id(void)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						SECS_PER_DAY * INT64CONST(1000000);
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	int64 microseconds = statement.at + epoch;
	uint64 milliseconds = microseconds / 1000;
	uint64 fraction = (microseconds % 1000) * 4096 / 1000;
	uint64 random = statement.next++ & UINT64CONST(0x3fffffffffffffff);
	uint64 high = (milliseconds << 16) | UINT64CONST(0x7000) | fraction;
	uint64 low = UINT64CONST(0x8000000000000000) | random;

	for (int i = 0; i < 8; i++)
	{
		id->data[i] = (unsigned char) (high >> (56 - 8 * i));
		id->data[8 + i] = (unsigned char) (low >> (56 - 8 * i));
	}

	return id;
}

/*
 * Who does it, and from where.  An anonymous caller has no user; what is not
 * known is null.
 */
static void
set_actor(AuditValues *common)
{
	const ClaimsIdentity *identity = plinth_claims_current();
	char *session_user = GetUserNameFromId(GetSessionUserId(), true);
	Datum address;

	if (identity != NULL && identity->has_user)
		set_value(common, AUDIT_LOG_USER_ID, UUIDPGetDatum(&identity->user_id));
	if (identity != NULL && identity->has_session)
		set_uuid(common, AUDIT_LOG_SESSION_ID, &identity->session_id);
	if (identity != NULL)
		set_text(common, AUDIT_LOG_USER_EMAIL, identity->email);

	/* a role that is dropped in its own session leaves its number */
	if (session_user == NULL)
		session_user = psprintf("%u", GetSessionUserId());
	set_text(common, AUDIT_LOG_DB_USER, session_user);

	if (client_address(&address))
		set_value(common, AUDIT_LOG_IP_ADDRESS, address);
	set_text(common, AUDIT_LOG_USER_AGENT, clip(plinth_claims_user_agent()));
	if (application_name != NULL && application_name[0] != '\0')
		set_text(common, AUDIT_LOG_APPLICATION_NAME, application_name);
}

/*
 * A header is as long as its sender likes, and each record would repeat it.
 */
static char *
clip(char *agent)
{
	if (agent != NULL && strlen(agent) > USER_AGENT_BYTES)
		agent[pg_mbcliplen(agent, strlen(agent), USER_AGENT_BYTES)] = '\0';

	return agent;
}

/*
 * Get the client's address, or false.  A header can say anything, so the
 * text is tried before the type's input function may raise an error.
 */
static bool
client_address(Datum *address)
{
	char *string = plinth_claims_client_address();
	unsigned char bytes[16];
	int family;

	if (string == NULL)
		return false;

	family = strchr(string, ':') != NULL ? PGSQL_AF_INET6 : PGSQL_AF_INET;
	if (pg_inet_net_pton(family, string, bytes, (size_t) -1) < 0)
		return false;

	*address = DirectFunctionCall1(inet_in, CStringGetDatum(string));

	return true;
}

static void
set_value(AuditValues *common, AuditLogColumn column, Datum value)
{
	common->values[column] = value;
	common->nulls[column] = false;
}

/*
 * Set a copy of a uuid: the claims may change while the records are written.
 */
static void
set_uuid(AuditValues *common, AuditLogColumn column, const pg_uuid_t *uuid)
{
	pg_uuid_t *copy = palloc(sizeof(pg_uuid_t));

	*copy = *uuid;
	set_value(common, column, UUIDPGetDatum(copy));
}

/*
 * Set a text; NULL leaves the column null.
 */
static void
set_text(AuditValues *common, AuditLogColumn column, const char *text)
{
	if (text != NULL)
		set_value(common, column, CStringGetTextDatum(text));
}

/*
 * The era tells transaction ids of this cluster from those of the cluster
 * that the database was dumped in; it is 1 until it is raised.
 *
 * It is read under the newest snapshot, as it will be kept for transactions
 * to come.
 */
static int16
current_era(void)
{
	static bool listening = false;
	uint64 before;
	int16 number;

	if (era.known)
		return era.number;

	if (!listening)
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	listening = true;

	before = invalidations;
	era.relid = plinth_relation_oid("installed_modules");
	PushActiveSnapshot(GetLatestSnapshot());
	number = plinth_audit_era();
	PopActiveSnapshot();

	era.number = number;
	era.known = OidIsValid(era.relid) && before == invalidations;

	return number;
}

/*
 * plinth.table_changed() tells us, and so does DROP EXTENSION.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == era.relid)
	{
		invalidations++;
		era.known = false;
	}
}

/*
 * The era as the active snapshot has it.
 */
int16
plinth_audit_era(void)
{
	bool is_ours;

	return plinth_audit_read_era(&is_ours);
}

/*
 * The same, and whether this is the database in which our module was
 * enabled.
 */
int16
plinth_audit_read_era(bool *is_ours)
{
	Oid relid = plinth_relation_oid("installed_modules");

	*is_ours = false;

	return OidIsValid(relid) ? read_era(relid, is_ours) : 1;
}

/*
 * Read the era of our module.  The row is looked for where it was the last
 * time; when the snapshot sees it there no more, from end to end: the table
 * has a row for each module.
 */
static int16
read_era(Oid relid, bool *is_ours)
{
	Relation rel = table_open(relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot snapshot = GetActiveSnapshot();
	int16 number = 1;

	/* the lock keeps VACUUM from cutting the table off below that block */
	if (!ItemPointerIsValid(&era_row) ||
		ItemPointerGetBlockNumber(&era_row) >= RelationGetNumberOfBlocks(rel) ||
		!table_tuple_fetch_row_version(rel, &era_row, snapshot, slot) ||
		!era_of_row(slot, &number, is_ours))
	{
		TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);

		ItemPointerSetInvalid(&era_row);
		while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
			if (era_of_row(slot, &number, is_ours))
			{
				era_row = slot->tts_tid;
				break;
			}
		table_endscan(scan);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);

	return number;
}

/*
 * The era, if this is the row of our module.
 *
 * In a restored database that waits for plinth.enable() transaction ids are
 * those of this cluster already, so its records belong to the era that
 * plinth.enable() will begin.
 */
static bool
era_of_row(TupleTableSlot *slot, int16 *number, bool *is_ours)
{
	bool no_module;
	bool no_era;
	bool no_cluster;
	bool no_database;
	Datum module = named_value(slot, "module", &no_module);
	Datum era_number = named_value(slot, "era", &no_era);
	Datum cluster = named_value(slot, "system_identifier", &no_cluster);
	Datum database = named_value(slot, "database_oid", &no_database);

	if (no_module || no_era ||
		strcmp(TextDatumGetCString(module), AUDIT_MODULE) != 0)
		return false;

	*is_ours = !no_cluster && !no_database &&
			   (uint64) DatumGetInt64(cluster) == GetSystemIdentifier() &&
			   DatumGetObjectId(database) == MyDatabaseId;
	*number = DatumGetInt16(era_number) + (*is_ours ? 0 : 1);

	return true;
}

static Datum
named_value(TupleTableSlot *slot, const char *name, bool *is_null)
{
	TupleDesc tupdesc = slot->tts_tupleDescriptor;

	for (int i = 0; i < tupdesc->natts; i++)
		if (!TupleDescAttr(tupdesc, i)->attisdropped &&
			namestrcmp(&TupleDescAttr(tupdesc, i)->attname, name) == 0)
			return slot_getattr(slot, i + 1, is_null);

	*is_null = true;

	return (Datum) 0;
}

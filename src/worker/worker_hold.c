/*-------------------------------------------------------------------------
 *
 * worker_hold.c
 *		Commands that want a database for themselves, and what backends tell
 *		the launcher.
 *
 * A hold keeps the workers out of a database: DROP DATABASE, ALTER DATABASE
 * ... RENAME and ... SET TABLESPACE, and CREATE DATABASE with it as template
 * take one for their own duration; DROP EXTENSION and plinth.disable() to the
 * end of their transaction, so that no worker comes back to what is about to
 * be gone.  The right to run the command is checked before a worker is
 * disturbed: else anybody could stop them.
 *
 * What changes which databases have work (extensions and databases that come
 * and go) is told to the launcher when the transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_publication.h"
#include "catalog/dependency.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"
#include "worker/worker_internal.h"

/* Workers leave in milliseconds; after this the command speaks for itself. */
#define LEAVE_LIMIT_MS 5000

/* The kinds of worker that a database has, and some room. */
#define MAX_LEAVERS 8

/* Processes that have been asked to leave. */
typedef struct Leavers
{
	int count;
	int pids[MAX_LEAVERS];
} Leavers;

static bool exit_callback_registered = false;

/* What this backend tells at the end of its transaction. */
static bool look_for_databases = false; /* one was made or changed */
static Oid look_at = InvalidOid;		/* the setting of one was changed */
static bool look_here = false;			/* this database's answer may differ */
static bool commit_prepared = false;	/* somebody else's changes */

static bool publication_due = false; /* to be dropped with it */
static bool hold_until_end = false;

/* The stream worker's entry when last looked up, and of which table. */
static WorkerEntry *stream_entry = NULL;
static uint32 stream_generation = 0;

static Oid wanted_database(Node *statement);
static Oid database_of(const char *name);
static bool owns(Oid database);
static bool may_create_database(void);
static bool is_template(Oid database);
static const char *template_of(CreatedbStmt *statement);
static bool sets_tablespace(AlterDatabaseStmt *statement);
static bool drops_our_extension(DropStmt *statement);
static bool send_away(Oid database, Leavers *leavers);
static void release_all(int code, Datum arg);
static void drop_publication(void);
static void wake_stream_worker(void);

Oid
plinth_worker_before_utility(Node *statement)
{
	Oid database;

	if (plinth_worker_shared == NULL)
		return InvalidOid;

	if (IsA(statement, DropStmt) && drops_our_extension((DropStmt *) statement))
		plinth_worker_hold_until_end();

	database = wanted_database(statement);
	/* the command refuses its own database by itself */
	if (!OidIsValid(database) || database == MyDatabaseId)
		return InvalidOid;
	plinth_worker_hold(database);
	return database;
}

void
plinth_worker_release(Oid database)
{
	WorkerShared *workers = plinth_worker_shared;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_HOLDS; i++)
	{
		WorkerHold *hold = &workers->holds[i];

		if (hold->database != database || hold->holder_pid != MyProcPid)
			continue;
		hold->database = InvalidOid;
		break;
	}
	if (workers->launcher_latch != NULL)
		SetLatch(workers->launcher_latch);
	LWLockRelease(workers->lock);
}

/*
 * A statement has run: remember what the launcher should know of it.
 */
void
plinth_worker_after_utility(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateExtensionStmt:
			if (strcmp(((CreateExtensionStmt *) statement)->extname,
					   PLINTH_EXTENSION) == 0)
				look_here = true;
			break;
		case T_CreatedbStmt:
		case T_DropdbStmt:
		case T_AlterDatabaseStmt:
			look_for_databases = true;
			break;
		case T_AlterDatabaseSetStmt:
			look_at = database_of(((AlterDatabaseSetStmt *) statement)->dbname);
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) statement)->kind ==
				TRANS_STMT_COMMIT_PREPARED)
				commit_prepared = true;
			break;
		default:
			break;
	}

	if (publication_due)
	{
		publication_due = false;
		drop_publication();
	}
}

/*
 * However an extension is dropped (by name, with its schema, with what it
 * requires), ours takes its publication along once the statement is done.
 */
void
plinth_worker_extension_dropped(Oid extension)
{
	if (extension != get_extension_oid(PLINTH_EXTENSION, true))
		return;
	publication_due = true;
	look_here = true;
}

void
plinth_worker_at_transaction_end(XactEvent event)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;

	if (hold_until_end)
	{
		hold_until_end = false;
		plinth_worker_release(MyDatabaseId);
		/* the workers come back, or find that they need not */
		look_here = true;
	}
	if (event == XACT_EVENT_COMMIT)
	{
		if (look_for_databases)
			plinth_worker_ask_launcher(InvalidOid);
		if (OidIsValid(look_at))
			plinth_worker_ask_launcher(look_at);
		if (commit_prepared || TransactionIdIsValid(GetTopTransactionIdIfAny()))
			wake_stream_worker();
	}
	if (look_here)
	{
		plinth_worker_ask_launcher(MyDatabaseId);
		plinth_worker_wake(WORKER_STREAM, MyDatabaseId);
		plinth_worker_wake(WORKER_UPKEEP, MyDatabaseId);
	}

	look_for_databases = look_here = commit_prepared = false;
	look_at = InvalidOid;
	publication_due = false;
}

/*
 * Keep the workers out of a database, and return when they have left.
 */
void
plinth_worker_hold(Oid database)
{
	WorkerShared *workers = plinth_worker_shared;
	Leavers leavers = {0};
	bool held = false;

	if (!exit_callback_registered)
	{
		before_shmem_exit(release_all, (Datum) 0);
		exit_callback_registered = true;
	}

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_HOLDS && !held; i++)
	{
		WorkerHold *hold = &workers->holds[i];

		if (OidIsValid(hold->database))
			continue;
		hold->database = database;
		hold->holder_pid = MyProcPid;
		held = true;
	}
	LWLockRelease(workers->lock);
	if (!held)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many commands that need a database for "
						"themselves"),
				 errdetail("At most %d of them can run at once.", WORKER_HOLDS)));

	PG_TRY();
	{
		for (int waited = 0; waited < LEAVE_LIMIT_MS; waited++)
		{
			if (send_away(database, &leavers))
				break;
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1,
							 plinth_wait_event("PlinthWorkerLeave"));
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_CATCH();
	{
		plinth_worker_release(database);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * The same for this database, to the end of the transaction.
 */
void
plinth_worker_hold_until_end(void)
{
	if (hold_until_end)
		return;
	plinth_worker_hold(MyDatabaseId);
	hold_until_end = true;
}

/*
 * Have the launcher look at this database, and its workers look at it, when
 * the transaction ends.
 */
void
plinth_worker_look_here(void)
{
	look_here = true;
}

/*
 * The database that a statement wants for itself, if the caller may run it.
 * When a check of ours errs on the side of "no", the workers stay and the
 * command reports them as other sessions.
 */
static Oid
wanted_database(Node *statement)
{
	Oid database = InvalidOid;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			database = database_of(((DropdbStmt *) statement)->dbname);
			if (owns(database))
				return database;
			break;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType != OBJECT_DATABASE)
				break;
			database = database_of(((RenameStmt *) statement)->subname);
			if (owns(database) && may_create_database())
				return database;
			break;
		case T_AlterDatabaseStmt:
			if (!sets_tablespace((AlterDatabaseStmt *) statement))
				break;
			database = database_of(((AlterDatabaseStmt *) statement)->dbname);
			if (owns(database))
				return database;
			break;
		case T_CreatedbStmt:
			database = database_of(template_of((CreatedbStmt *) statement));
			if (may_create_database() && (is_template(database) || owns(database)))
				return database;
			break;
		default:
			break;
	}
	return InvalidOid;
}

static Oid
database_of(const char *name)
{
	return name == NULL ? InvalidOid : get_database_oid(name, true);
}

static bool
owns(Oid database)
{
	return OidIsValid(database) && plinth_owns_database(database, GetUserId());
}

static bool
may_create_database(void)
{
	HeapTuple tuple;
	bool result = superuser();

	if (result)
		return true;
	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_authid) GETSTRUCT(tuple))->rolcreatedb;
		ReleaseSysCache(tuple);
	}
	return result;
}

static bool
is_template(Oid database)
{
	HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

static const char *
template_of(CreatedbStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
	{
		DefElem *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return "template1";
}

static bool
sets_tablespace(AlterDatabaseStmt *statement)
{
	ListCell *cell;

	foreach (cell, statement->options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, "tablespace") == 0)
			return true;
	return false;
}

/*
 * DROP EXTENSION plinth by somebody who may?  Other ways to drop it take
 * their locks without our help: the workers' transactions are short.
 */
static bool
drops_our_extension(DropStmt *statement)
{
	ListCell *cell;

	if (statement->removeType != OBJECT_EXTENSION)
		return false;
	foreach (cell, statement->objects)
	{
		Oid extension;

		if (strcmp(strVal(lfirst(cell)), PLINTH_EXTENSION) != 0)
			continue;
		extension = get_extension_oid(PLINTH_EXTENSION, true);
		return OidIsValid(extension) &&
			   plinth_owns_extension(extension, GetUserId());
	}
	return false;
}

/*
 * Ask the workers of a database to leave, each once; true when none is left.
 * A process that has cleared its entry may still be in the list of processes,
 * which is where the server's own check looks.
 */
static bool
send_away(Oid database, Leavers *leavers)
{
	WorkerShared *workers = plinth_worker_shared;
	bool gone = true;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_ENTRIES; i++)
	{
		WorkerEntry *entry = &workers->entries[i];
		bool asked = false;

		if (entry->database != database || entry->pid == 0)
			continue;
		gone = false;
		for (int j = 0; j < leavers->count; j++)
			if (leavers->pids[j] == entry->pid)
				asked = true;
		if (asked || leavers->count == MAX_LEAVERS)
			continue;
		/* under the lock, the pid is that of a process of ours */
		leavers->pids[leavers->count++] = entry->pid;
		entry->outcome = WORKER_SENT_AWAY;
		kill(entry->pid, SIGTERM);
	}
	LWLockRelease(workers->lock);

	for (int i = 0; i < leavers->count; i++)
		if (BackendPidGetProc(leavers->pids[i]) != NULL)
			gone = false;
	return gone;
}

/*
 * This backend ends: a command that was terminated holds nothing any more.
 */
static void
release_all(int code, Datum arg)
{
	WorkerShared *workers = plinth_worker_shared;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	for (int i = 0; i < WORKER_HOLDS; i++)
		if (workers->holds[i].holder_pid == MyProcPid)
			workers->holds[i].database = InvalidOid;
	if (workers->launcher_latch != NULL)
		SetLatch(workers->launcher_latch);
	LWLockRelease(workers->lock);
}

/*
 * The publication goes with the extension, which it could not be a member of
 * (S6.6).  One of that name that is somebody else's stays.
 */
static void
drop_publication(void)
{
	Oid publication = get_publication_oid(PLINTH_PUBLICATION, true);
	Oid owner = get_role_oid(PLINTH_OWNER_ROLE, true);
	ObjectAddress object;
	HeapTuple tuple;
	bool ours;

	/* the statement may have failed, and been caught */
	if (!OidIsValid(publication) ||
		OidIsValid(get_extension_oid(PLINTH_EXTENSION, true)))
		return;
	tuple = SearchSysCache1(PUBLICATIONOID, ObjectIdGetDatum(publication));
	if (!HeapTupleIsValid(tuple))
		return;
	ours = ((Form_pg_publication) GETSTRUCT(tuple))->pubowner == owner;
	ReleaseSysCache(tuple);
	if (!ours)
		return;

	ObjectAddressSet(object, PublicationRelationId, publication);
	performDeletion(&object, DROP_RESTRICT, 0);
}

/*
 * A transaction that has written is over: the stream worker of this database
 * has something to read.  One commit uses up the worker's mark, so that the
 * others do not take the lock.
 */
static void
wake_stream_worker(void)
{
	WorkerShared *workers = plinth_worker_shared;

	if (workers == NULL || !OidIsValid(MyDatabaseId))
		return;
	/* the commit record comes before the look at the mark */
	pg_memory_barrier();
	if (stream_generation == workers->generation &&
		(stream_entry == NULL || !stream_entry->waiting))
		return;

	LWLockAcquire(workers->lock, LW_SHARED);
	stream_generation = workers->generation;
	stream_entry = plinth_worker_find_locked(MyDatabaseId, WORKER_STREAM);
	if (stream_entry != NULL && stream_entry->pid != 0 &&
		stream_entry != plinth_worker_mine && stream_entry->waiting)
	{
		stream_entry->waiting = false;
		SetLatch(stream_entry->latch);
	}
	LWLockRelease(workers->lock);
}

/*-------------------------------------------------------------------------
 *
 * plinth.c
 *		Wires the rooms together: settings, shared memory, hooks, workers.
 *
 * Everything that happens once when the library is loaded happens here, in
 * the order in which the rooms stand on each other.  The rooms do the work;
 * this file only calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/guc.h"

#include "account/account.h"
#include "audit/audit.h"
#include "base/compat.h"
#include "claims/claims.h"
#include "router/router.h"
#include "secrets/secrets.h"

PLINTH_MODULE_MAGIC;

/* What a room asks of the server; a NULL member means nothing. */
typedef struct PlinthRoom
{
	const char *name;
	void (*define_settings)(void);
	void (*shmem_request)(void);
	void (*shmem_startup)(void); /* holds AddinShmemInitLock */
} PlinthRoom;

/* In dependency order. */
static const PlinthRoom rooms[] = {
	{.name = "secrets",
	 .define_settings = plinth_secrets_define_settings,
	 .shmem_request = plinth_secrets_shmem_request,
	 .shmem_startup = plinth_secrets_shmem_startup},
	{.name = "claims", .define_settings = plinth_claims_define_settings},
	{.name = "account",
	 .define_settings = plinth_account_define_settings,
	 .shmem_request = plinth_account_shmem_request,
	 .shmem_startup = plinth_account_shmem_startup},
	{.name = "audit", .define_settings = plinth_audit_define_settings},
	{.name = "router",
	 .define_settings = plinth_router_define_settings,
	 .shmem_request = plinth_router_shmem_request,
	 .shmem_startup = plinth_router_shmem_startup},
	{.name = NULL},
};

static shmem_request_hook_type previous_shmem_request = NULL;
static shmem_startup_hook_type previous_shmem_startup = NULL;

void _PG_init(void);
static void request_shared_memory(void);
static void start_shared_memory(void);

/*
 * Load the library: settings always, shared memory and workers only when it
 * is preloaded.  Functions that need what is missing then say so themselves.
 */
void
_PG_init(void)
{
	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->define_settings != NULL)
			room->define_settings();
	MarkGUCPrefixReserved("plinth");

	if (!process_shared_preload_libraries_in_progress)
		return;

	previous_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
}

/*
 * Ask for every room's memory and locks.
 */
static void
request_shared_memory(void)
{
	if (previous_shmem_request)
		previous_shmem_request();

	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->shmem_request != NULL)
			room->shmem_request();
}

/*
 * Create every room's memory, or attach to it.
 */
static void
start_shared_memory(void)
{
	if (previous_shmem_startup)
		previous_shmem_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (const PlinthRoom *room = rooms; room->name != NULL; room++)
		if (room->shmem_startup != NULL)
			room->shmem_startup();
	LWLockRelease(AddinShmemInitLock);
}

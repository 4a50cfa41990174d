/*-------------------------------------------------------------------------
 *
 * secrets_merge.c
 *		The keys of another server beside our own.
 *
 * Stored data names the keys of purposes seal and audit by their numbers, so
 * a key that comes keeps its number there.  The first keys of every server
 * have the same ones: a key of ours in its way moves to a free number, but
 * only when this database shows no trace of it.  Keys of other purposes are
 * named by their kid, and take a free number when theirs is taken.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <time.h>

#include "base/bytes.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"

typedef struct MergeKeys
{
	const SecretsRing *added;
	const SecretsRing *ours; /* as it was when the trace was looked for */
	const bool *in_use;		 /* of each key of ours */
	const SecretsKey *clash;
	bool no_number;
	int count;
} MergeKeys;

static bool is_numbered(const SecretsKey *key);
static bool leaves_trace(const SecretsKey *key);
static bool merge_keys(SecretsRing *ring, void *arg);
static bool merge_key(SecretsRing *ring, MergeKeys *merge, const SecretsKey *key);
static SecretsKey *by_number(SecretsRing *ring, int16 key_id);
static bool may_move(const MergeKeys *merge, const SecretsKey *key);
static bool has_active(const SecretsRing *ring, const SecretsKey *key);

int
plinth_secrets_merge(const SecretsRing *added)
{
	MergeKeys merge = {.added = added};
	const SecretsRing *ring = plinth_secrets_ring();
	int count = ring->count;
	bool *in_use = palloc0(sizeof(bool) * count);
	SecretsRing *names;

	/* numbers and kids only; looking for traces may read the keyring anew */
	names = palloc0(SECRETS_RING_SIZE(count));
	names->count = count;
	for (int i = 0; i < count; i++)
	{
		const SecretsKey *key = &ring->keys[i];

		names->keys[i].key_id = key->key_id;
		names->keys[i].purpose = key->purpose;
		names->keys[i].created_at = key->created_at;
		strcpy(names->keys[i].kid, key->kid);
		in_use[i] = key->purpose == SECRETS_SEAL && plinth_secrets_is_noted(key);
	}
	for (int i = 0; i < count; i++)
		if (names->keys[i].purpose == SECRETS_AUDIT)
			in_use[i] = leaves_trace(&names->keys[i]);
	merge.ours = names;
	merge.in_use = in_use;

	plinth_secrets_change(added->count, merge_keys, &merge);
	if (merge.clash != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("key %d \"%s\" cannot be added to the keyring",
						merge.clash->key_id, merge.clash->kid),
				 errdetail("Another key has its kid, or its number and is in use "
						   "here.")));
	if (merge.no_number)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot add a key to the keyring"),
						errdetail("All numbers of keys are taken.")));

	return merge.count;
}

/*
 * Is a key of that purpose named by its number in stored data?
 */
static bool
is_numbered(const SecretsKey *key)
{
	return key->purpose == SECRETS_SEAL || key->purpose == SECRETS_AUDIT;
}

/*
 * May this audit key have signed a seal of this database's log?  Those made
 * under its number since it is there are taken for its own.
 */
static bool
leaves_trace(const SecretsKey *key)
{
	Oid types[] = {INT2OID, INT8OID};
	Datum values[] = {Int16GetDatum(key->key_id), Int64GetDatum(key->created_at)};
	bool found = false;

	SPI_connect();
	if (SPI_execute("SELECT FROM pg_catalog.pg_class AS c"
					" JOIN pg_catalog.pg_namespace AS n"
					" ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
					" WHERE n.nspname OPERATOR(pg_catalog.=) 'audit'"
					" AND c.relname OPERATOR(pg_catalog.=) 'seals'",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for seals of the audit log");
	if (SPI_processed > 0)
	{
		if (SPI_execute_with_args(
				"SELECT FROM audit.seals AS s"
				" WHERE s.key_id OPERATOR(pg_catalog.=) $1 AND s.sealed_at"
				" OPERATOR(pg_catalog.>=) pg_catalog.to_timestamp($2)",
				lengthof(types), types, values, NULL, true, 1) != SPI_OK_SELECT)
			elog(ERROR, "could not look through the seals of the audit log");
		found = SPI_processed > 0;
	}
	SPI_finish();

	return found;
}

/*
 * SecretsChange: add what is not there.
 */
static bool
merge_keys(SecretsRing *ring, void *arg)
{
	MergeKeys *merge = arg;

	for (int i = 0; i < merge->added->count; i++)
		if (!merge_key(ring, merge, &merge->added->keys[i]))
			return false;

	return merge->count > 0;
}

static bool
merge_key(SecretsRing *ring, MergeKeys *merge, const SecretsKey *key)
{
	const SecretsKey *known = plinth_secrets_by_kid(ring, key->kid);
	SecretsKey *rival = by_number(ring, key->key_id);
	int16 free_number = plinth_secrets_free_number(ring);
	SecretsKey *place = &ring->keys[ring->count];

	if (known != NULL && plinth_secrets_same(known, key) &&
		(known->key_id == key->key_id || !is_numbered(key)))
		return true;
	merge->no_number = rival != NULL && free_number == 0;
	if (merge->no_number)
		return false;
	if (known != NULL ||
		(rival != NULL && is_numbered(key) && !may_move(merge, rival)))
	{
		merge->clash = key;
		return false;
	}

	*place = *key;
	if (rival != NULL && is_numbered(key))
		rival->key_id = free_number;
	else if (rival != NULL)
		place->key_id = free_number;
	/* our own active key goes on, and the other opens and verifies */
	if (key->state == SECRETS_ACTIVE && has_active(ring, key))
	{
		place->state = SECRETS_RETIRED;
		place->changed_at = (int64) time(NULL);
	}
	ring->count++;
	merge->count++;

	return true;
}

static SecretsKey *
by_number(SecretsRing *ring, int16 key_id)
{
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].key_id == key_id)
			return &ring->keys[i];

	return NULL;
}

/*
 * Can a key of ours have another number?  One that has come since we looked
 * for traces cannot.
 */
static bool
may_move(const MergeKeys *merge, const SecretsKey *key)
{
	if (!is_numbered(key))
		return true;
	for (int i = 0; i < merge->ours->count; i++)
		if (strcmp(merge->ours->keys[i].kid, key->kid) == 0)
			return !merge->in_use[i];

	return false;
}

static bool
has_active(const SecretsRing *ring, const SecretsKey *key)
{
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].purpose == key->purpose &&
			ring->keys[i].algorithm == key->algorithm &&
			ring->keys[i].state == SECRETS_ACTIVE)
			return true;

	return false;
}

/*-------------------------------------------------------------------------
 *
 * audit_chain.c
 *		Reading seals: their columns, their snapshots, their signatures.
 *
 * The snapshots of an era's seals grow: what one sees as finished, all later
 * ones do.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "audit/audit_seal.h"
#include "base/compat.h"
#include "secrets/secrets.h"

static bytea *copy_bytea(Datum value, bool is_null);
static const SecretsKey *key_of(const SecretsRing *ring, int16 key_id);
static uint64 read_number(const char **text);

/*
 * The table of seals; InvalidOid where the module audit is not installed.
 */
Oid
plinth_audit_seals_table(void)
{
	Oid schema = get_namespace_oid("audit", true);

	return OidIsValid(schema) ? get_relname_relid("seals", schema) : InvalidOid;
}

/*
 * Read a tuple of the columns AUDIT_SEAL_COLUMNS, and perhaps more, into the
 * current context.
 */
void
plinth_audit_seal_read(AuditSeal *seal, HeapTuple tuple, TupleDesc tupdesc)
{
	Datum *values = palloc(sizeof(Datum) * tupdesc->natts);
	bool *nulls = palloc(sizeof(bool) * tupdesc->natts);

	Assert(tupdesc->natts >= AUDIT_SEAL_NCOLUMNS);
	heap_deform_tuple(tuple, tupdesc, values, nulls);

	seal->id = DatumGetInt64(values[0]);
	seal->era = DatumGetInt16(values[1]);
	seal->snapshot_text = TextDatumGetCString(values[2]);
	plinth_audit_snapshot_read(&seal->snapshot, seal->snapshot_text);
	seal->first_at = DatumGetTimestampTz(values[3]);
	seal->last_at = DatumGetTimestampTz(values[4]);
	seal->rows = DatumGetInt64(values[5]);
	seal->root = copy_bytea(values[6], nulls[6]);
	seal->previous = copy_bytea(values[7], nulls[7]);
	seal->leaves_hash = copy_bytea(values[8], nulls[8]);
	seal->signature = copy_bytea(values[9], nulls[9]);
	seal->key_id = DatumGetInt16(values[10]);
	seal->sealed_at = DatumGetTimestampTz(values[11]);

	pfree(values);
	pfree(nulls);
}

/*
 * Read the text form of a pg_snapshot, "oldest:next:running,running,...",
 * which the type's own input function has checked.
 */
void
plinth_audit_snapshot_read(AuditSnapshot *snapshot, const char *text)
{
	const char *rest = text;
	int capacity = 1;

	snapshot->oldest = read_number(&rest);
	snapshot->next = read_number(&rest);
	snapshot->count = 0;
	for (const char *c = rest; *c != '\0'; c++)
		if (*c == ',')
			capacity++;
	snapshot->running = palloc(sizeof(uint64) * capacity);
	while (*rest != '\0')
		snapshot->running[snapshot->count++] = read_number(&rest);
}

/*
 * Had the transaction finished?
 */
bool
plinth_audit_snapshot_sees(const AuditSnapshot *snapshot, uint64 txid)
{
	int low = 0;
	int high = snapshot->count;

	if (txid < snapshot->oldest)
		return true;
	if (txid >= snapshot->next)
		return false;

	while (low < high)
	{
		int middle = low + (high - low) / 2;

		if (snapshot->running[middle] == txid)
			return false;
		if (snapshot->running[middle] < txid)
			low = middle + 1;
		else
			high = middle;
	}

	return true;
}

bool
plinth_audit_same_hash(const bytea *stored, const AuditHash *hash)
{
	return stored != NULL && VARSIZE_ANY_EXHDR(stored) == AUDIT_HASH_SIZE &&
		   memcmp(VARDATA_ANY(stored), hash->bytes, AUDIT_HASH_SIZE) == 0;
}

/*
 * What is wrong with a seal's signature; NULL when it holds.  A key that was
 * imported from another keyring may have got another number there, so every
 * imported key is tried.
 *
 * Errors: 55000 the key is not in the keyring.
 */
const char *
plinth_audit_seal_fault(const AuditSeal *seal)
{
	const SecretsRing *ring = plinth_secrets_ring();
	const SecretsKey *named = key_of(ring, seal->key_id);
	StringInfoData bytes;
	bool holds = false;

	initStringInfo(&bytes);
	plinth_audit_encode_seal(&bytes, seal);
	for (int i = 0; i < ring->count && !holds; i++)
	{
		const SecretsKey *key = &ring->keys[i];

		if (key->purpose != SECRETS_AUDIT || key->algorithm != SECRETS_ED25519 ||
			(key != named && key->state != SECRETS_VERIFY))
			continue;
		holds = plinth_secrets_verify(key, bytes.data, bytes.len,
									  (uint8 *) VARDATA_ANY(seal->signature),
									  VARSIZE_ANY_EXHDR(seal->signature));
	}
	pfree(bytes.data);

	if (holds)
		return NULL;
	if (named == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("audit key %d, which signed seal %lld, is not in the "
						"keyring",
						seal->key_id, (long long) seal->id),
				 errhint("Bring the keyring of the server that made the seal, "
						 "or its public key with plinth.key_import().")));

	return named->state == SECRETS_REVOKED ? "it was signed with a revoked key"
										   : "its signature does not hold";
}

static bytea *
copy_bytea(Datum value, bool is_null)
{
	return is_null ? NULL : DatumGetByteaPCopy(value);
}

static const SecretsKey *
key_of(const SecretsRing *ring, int16 key_id)
{
	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].key_id == key_id &&
			ring->keys[i].purpose == SECRETS_AUDIT)
			return &ring->keys[i];

	return NULL;
}

/*
 * Read digits and step over what separates them from the next.
 */
static uint64
read_number(const char **text)
{
	char *end;
	uint64 number = strtou64(*text, &end, 10);

	*text = *end == '\0' ? end : end + 1;

	return number;
}

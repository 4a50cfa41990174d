/*-------------------------------------------------------------------------
 *
 * secrets_seal.c
 *		Sealed values as SQL sees them.
 *
 * A plaintext is wiped wherever it was copied to on its way: from a compressed
 * or stored argument, and between opening and sealing anew.  The caller's own
 * argument and result are the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include "access/detoast.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static const SecretsKey *sealing_key(const SecretsRing *ring);
static const SecretsKey *opening_key(const SecretsRing *ring, int16 key_id);
static bytea *make_room(size_t length);
static void seal(const SecretsKey *key, const bytea *plain,
				 SecretsContext context, bytea *sealed);
static void open_sealed(const SecretsKey *key, const bytea *sealed,
						SecretsContext context, bytea *plain);
static SecretsContext context_argument(text *argument);
static int16 key_of(const bytea *sealed);

/*
 * plinth.seal(plaintext bytea, context text) -> bytea
 *
 * Seal bytes with the active seal key.
 *
 *	context	where the value belongs, 1 to 1024 bytes:
 *			"table.column:row id", the table without its schema
 *
 * Errors: 22023 the context is empty or too long; 54000 the plaintext is too
 * long; 55000 no keyring, no key that seals, or one that is not the data's.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_seal);
Datum
plinth_sql_secrets_seal(PG_FUNCTION_ARGS)
{
	SecretsContext context = context_argument(PG_GETARG_TEXT_PP(1));
	const SecretsKey *key;
	bytea *plain;
	bytea *sealed;

	sealed = make_room(toast_raw_datum_size(PG_GETARG_DATUM(0)) - VARHDRSZ +
					   SECRETS_BOX_OVERHEAD);
	key = sealing_key(plinth_secrets_ring());
	plain = PG_GETARG_BYTEA_PP(0);
	seal(key, plain, context, sealed);
	if ((Pointer) plain != DatumGetPointer(PG_GETARG_DATUM(0)))
		plinth_bytes_zero(plain, VARSIZE_ANY(plain));

	PG_RETURN_BYTEA_P(sealed);
}

/*
 * plinth.unseal(sealed bytea, context text) -> bytea
 *
 * Open a sealed value in the place where it belongs.
 *
 * Errors: 22023 it is no sealed value, was changed, or belongs elsewhere; 55000
 * its key is not in the keyring, is revoked, or is not the data's (the message
 * has the key's number); 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_unseal);
Datum
plinth_sql_secrets_unseal(PG_FUNCTION_ARGS)
{
	bytea *sealed = PG_GETARG_BYTEA_PP(0);
	SecretsContext context = context_argument(PG_GETARG_TEXT_PP(1));
	int16 key_id = key_of(sealed);
	bytea *plain = make_room(VARSIZE_ANY_EXHDR(sealed) - SECRETS_BOX_OVERHEAD);

	open_sealed(opening_key(plinth_secrets_ring(), key_id), sealed, context,
				plain);

	PG_RETURN_BYTEA_P(plain);
}

/*
 * plinth.reseal(sealed bytea, context text) -> bytea
 *
 * Seal a value anew with the active seal key; the same value when it is under
 * that key already, and opens.
 *
 * Errors: those of plinth.unseal() and plinth.seal().
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_reseal);
Datum
plinth_sql_secrets_reseal(PG_FUNCTION_ARGS)
{
	bytea *sealed = PG_GETARG_BYTEA_PP(0);
	SecretsContext context = context_argument(PG_GETARG_TEXT_PP(1));
	int16 key_id = key_of(sealed);
	size_t length = VARSIZE_ANY_EXHDR(sealed);
	/* whatever can fail for want of memory comes before there is a plaintext */
	bytea *plain = make_room(length - SECRETS_BOX_OVERHEAD);
	bytea *result = make_room(length);
	const SecretsRing *ring = plinth_secrets_ring();
	const SecretsKey *new_key = sealing_key(ring);
	const SecretsKey *old_key = opening_key(ring, key_id);

	open_sealed(old_key, sealed, context, plain);
	if (old_key == new_key)
		memcpy(VARDATA(result), VARDATA_ANY(sealed), length);
	else
		seal(new_key, plain, context, result);
	plinth_bytes_zero(plain, VARSIZE(plain));

	PG_RETURN_BYTEA_P(result);
}

/*
 * plinth.sealed_key_id(sealed bytea) -> smallint
 *
 * The number of the key that a value is sealed with; it is not opened.
 *
 * Errors: 22023 it is no sealed value.
 */
PG_FUNCTION_INFO_V1(plinth_sql_secrets_sealed_key_id);
Datum
plinth_sql_secrets_sealed_key_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT16(key_of(PG_GETARG_BYTEA_PP(0)));
}

/*
 * The key that seals.
 */
static const SecretsKey *
sealing_key(const SecretsRing *ring)
{
	const SecretsKey *key =
		plinth_secrets_active(ring, SECRETS_SEAL, SECRETS_XCHACHA20);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key seals values"),
				 errdetail("The keyring has not one active key of purpose seal."),
				 errhint("Make one with plinth.key_create('seal').")));
	plinth_secrets_require_fit(key, true);

	return key;
}

/*
 * The key of that number.
 */
static const SecretsKey *
opening_key(const SecretsRing *ring, int16 key_id)
{
	const SecretsKey *key = plinth_secrets_numbered(ring, SECRETS_SEAL, key_id);

	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key %d, which the value is sealed with, is not in the "
						"keyring",
						key_id),
				 errhint("Put the keyring back that belongs to the data, or "
						 "import its keys with plinth.keyring_import().")));
	if (key->state == SECRETS_REVOKED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key %d, which the value is sealed with, is revoked",
						key_id)));
	plinth_secrets_require_fit(key, false);

	return key;
}

/*
 * A value of so many bytes, to be filled.
 */
static bytea *
make_room(size_t length)
{
	bytea *value;

	if (length > MaxAllocSize - VARHDRSZ)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("value is too long to be sealed"),
						errdetail("It would have %zu bytes.", length)));
	value = palloc(VARHDRSZ + length);
	SET_VARSIZE(value, VARHDRSZ + length);

	return value;
}

static void
seal(const SecretsKey *key, const bytea *plain, SecretsContext context,
	 bytea *sealed)
{
	if (!plinth_secrets_box_seal(key, VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain),
								 context, (uint8 *) VARDATA(sealed)))
		elog(ERROR, "key %d does not seal", key->key_id);
}

/*
 * Open a value; the caller is not told which of the two is wrong.
 */
static void
open_sealed(const SecretsKey *key, const bytea *sealed, SecretsContext context,
			bytea *plain)
{
	if (!plinth_secrets_box_open(key, (const uint8 *) VARDATA_ANY(sealed),
								 VARSIZE_ANY_EXHDR(sealed), context,
								 VARDATA(plain)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("sealed value cannot be opened here"),
						errdetail("It was changed, or belongs elsewhere.")));
}

/*
 * The context in UTF-8, so that values move between databases.
 */
static SecretsContext
context_argument(text *argument)
{
	SecretsContext context = {.text = VARDATA_ANY(argument),
							  .length = VARSIZE_ANY_EXHDR(argument)};

	if (context.length <= SECRETS_BOX_CONTEXT)
	{
		char *converted =
			pg_server_to_any(context.text, (int) context.length, PG_UTF8);

		if (converted != context.text)
		{
			context.text = converted;
			context.length = strlen(converted);
		}
	}
	if (context.length == 0 || context.length > SECRETS_BOX_CONTEXT)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid context of a sealed value"),
						errdetail("It must have 1 to %d bytes in UTF-8.",
								  SECRETS_BOX_CONTEXT)));

	return context;
}

static int16
key_of(const bytea *sealed)
{
	int16 key_id = plinth_secrets_box_key((const uint8 *) VARDATA_ANY(sealed),
										  VARSIZE_ANY_EXHDR(sealed));

	if (key_id == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("not a sealed value")));

	return key_id;
}

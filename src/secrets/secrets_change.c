/*-------------------------------------------------------------------------
 *
 * secrets_change.c
 *		Changes of the keyring: new keys, keys of others, states.
 *
 * A change is a function over a copy of the ring that runs under the lock of
 * secrets_keys.c.  What it refuses it leaves in its argument, and the error is
 * raised when the lock is gone.  None is undone by a rollback: a key that was
 * made or revoked is so whatever becomes of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <time.h>

#include "base/bytes.h"
#include "base/compat.h"

/* Why a change was refused. */
typedef enum ChangeProblem
{
	CHANGE_NONE,
	CHANGE_CLASH,
	CHANGE_NO_NUMBER,
	CHANGE_UNKNOWN,
	CHANGE_LAST,
	CHANGE_REVOKED
} ChangeProblem;

typedef struct AddKeys
{
	const SecretsRing *added;
	const SecretsKey *clash;
	int count;
	ChangeProblem problem;
} AddKeys;

typedef struct CreateKey
{
	SecretsPurpose purpose;
	SecretsAlgorithm algorithm;
	char *kid;
	ChangeProblem problem;
} CreateKey;

typedef struct SetState
{
	const char *kid;
	SecretsState state;
	ChangeProblem problem;
} SetState;

static bool add_keys(SecretsRing *ring, void *arg);
static bool create_key(SecretsRing *ring, void *arg);
static bool set_state(SecretsRing *ring, void *arg);
static int count_active(const SecretsRing *ring, SecretsPurpose purpose);
static void change_state(SecretsKey *key, SecretsState state);
pg_noreturn static void refuse_number(void);

int
plinth_secrets_add(const SecretsRing *added)
{
	AddKeys add = {.added = added};

	plinth_secrets_change(added->count, add_keys, &add);
	if (add.problem == CHANGE_CLASH)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("key \"%s\" is already in the keyring", add.clash->kid),
				 errdetail("Its key, algorithm or purpose is another one.")));
	if (add.problem == CHANGE_NO_NUMBER)
		refuse_number();

	return add.count;
}

void
plinth_secrets_create(SecretsPurpose purpose, SecretsAlgorithm algorithm,
					  char *kid)
{
	CreateKey create = {.purpose = purpose, .algorithm = algorithm, .kid = kid};

	plinth_secrets_change(1, create_key, &create);
	if (create.problem == CHANGE_NO_NUMBER)
		refuse_number();
}

void
plinth_secrets_set_state(const char *kid, SecretsState state)
{
	SetState set = {.kid = kid, .state = state};

	plinth_secrets_change(0, set_state, &set);
	switch (set.problem)
	{
		case CHANGE_UNKNOWN:
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("key \"%s\" is not in the keyring", kid)));
			break;
		case CHANGE_LAST:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot retire key \"%s\"", kid),
					 errdetail("It is the last active key of its purpose."),
					 errhint("Make another one with plinth.key_create(), which "
							 "retires this one.")));
			break;
		case CHANGE_REVOKED:
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("cannot retire key \"%s\"", kid),
							errdetail("It is revoked.")));
			break;
		default:
			break;
	}
}

bool
plinth_secrets_same(const SecretsKey *a, const SecretsKey *b)
{
	if (a->purpose != b->purpose || a->algorithm != b->algorithm)
		return false;
	if (a->algorithm == SECRETS_ED25519)
		return memcmp(a->public_key, b->public_key, sizeof(a->public_key)) == 0;

	return a->secret_size == b->secret_size &&
		   plinth_bytes_equal(a->secret, b->secret, a->secret_size);
}

SecretsKey *
plinth_secrets_by_kid(SecretsRing *ring, const char *kid)
{
	for (int i = 0; i < ring->count; i++)
		if (strcmp(ring->keys[i].kid, kid) == 0)
			return &ring->keys[i];

	return NULL;
}

int16
plinth_secrets_free_number(const SecretsRing *ring)
{
	int highest = 0;

	for (int i = 0; i < ring->count; i++)
		highest = Max(highest, ring->keys[i].key_id);

	return highest < PG_INT16_MAX ? (int16) (highest + 1) : 0;
}

/*
 * SecretsChange: add the keys of a set that are not there yet.
 */
static bool
add_keys(SecretsRing *ring, void *arg)
{
	AddKeys *add = arg;

	for (int i = 0; i < add->added->count; i++)
	{
		const SecretsKey *key = &add->added->keys[i];
		const SecretsKey *known = plinth_secrets_by_kid(ring, key->kid);
		int16 key_id = plinth_secrets_free_number(ring);

		if (known != NULL && plinth_secrets_same(known, key))
			continue;
		if (known != NULL || key_id == 0)
		{
			add->clash = key;
			add->problem = known != NULL ? CHANGE_CLASH : CHANGE_NO_NUMBER;
			return false;
		}
		ring->keys[ring->count] = *key;
		ring->keys[ring->count].key_id = key_id;
		ring->keys[ring->count++].created_at = (int64) time(NULL);
		add->count++;
	}

	return add->count > 0;
}

/*
 * SecretsChange: add a random key that takes the active one's place.
 */
static bool
create_key(SecretsRing *ring, void *arg)
{
	CreateKey *create = arg;
	int16 key_id = plinth_secrets_free_number(ring);
	SecretsKey *made = &ring->keys[ring->count];

	if (key_id == 0)
	{
		create->problem = CHANGE_NO_NUMBER;
		return false;
	}
	for (int i = 0; i < ring->count; i++)
	{
		SecretsKey *key = &ring->keys[i];

		if (key->purpose == create->purpose &&
			key->algorithm == create->algorithm && key->state == SECRETS_ACTIVE)
			change_state(key, SECRETS_RETIRED);
	}
	plinth_secrets_make_key(create->purpose, create->algorithm, key_id, made);
	ring->count++;
	memcpy(create->kid, made->kid, sizeof(made->kid));

	return true;
}

/*
 * SecretsChange: retire or revoke a key.
 */
static bool
set_state(SecretsRing *ring, void *arg)
{
	SetState *set = arg;
	SecretsKey *key = plinth_secrets_by_kid(ring, set->kid);

	if (key == NULL)
		set->problem = CHANGE_UNKNOWN;
	else if (key->state == set->state)
		return false;
	else if (key->state == SECRETS_REVOKED)
		set->problem = CHANGE_REVOKED;
	else if (set->state == SECRETS_RETIRED && key->state == SECRETS_ACTIVE &&
			 count_active(ring, key->purpose) == 1)
		set->problem = CHANGE_LAST;
	if (set->problem != CHANGE_NONE)
		return false;

	change_state(key, set->state);
	return true;
}

static int
count_active(const SecretsRing *ring, SecretsPurpose purpose)
{
	int count = 0;

	for (int i = 0; i < ring->count; i++)
		if (ring->keys[i].purpose == purpose &&
			ring->keys[i].state == SECRETS_ACTIVE)
			count++;

	return count;
}

static void
change_state(SecretsKey *key, SecretsState state)
{
	key->state = state;
	key->changed_at = (int64) time(NULL);
}

static void
refuse_number(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("cannot add a key to the keyring"),
					errdetail("All numbers of keys are taken.")));
}

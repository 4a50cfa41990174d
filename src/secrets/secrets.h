/*-------------------------------------------------------------------------
 *
 * secrets.h
 *		How is a value sealed or signed?
 *
 * The keys of the server are in one file, the keyring (docs/secrets.md), never
 * in the database.  Each process reads it when it first needs a key, into
 * locked memory, and takes changes up within a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_SECRETS_H
#define PLINTH_SECRETS_H

#include "postgres.h"

#include "base/json_scan.h"
#include "nodes/pg_list.h"

/* Bytes of a key id with its terminating zero. */
#define SECRETS_KID_SIZE 65

/* Bytes of the longest and of the shortest symmetric key. */
#define SECRETS_MAX_KEY 256
#define SECRETS_MIN_KEY 32

/* Bytes of the longest signature. */
#define SECRETS_SIGNATURE_SIZE 64

/*
 * Seconds that a retired token key goes on verifying: the longest life that
 * auth.access_token_ttl may give a token, and the largest leeway.
 */
#define SECRETS_TOKEN_LIFE (24 * 60 * 60 + 60)

typedef enum SecretsPurpose
{
	SECRETS_TOKEN,
	SECRETS_SEAL,
	SECRETS_AUDIT,
	SECRETS_CERTIFICATE,
	SECRETS_URL
} SecretsPurpose;

#define SECRETS_PURPOSES (SECRETS_URL + 1)

typedef enum SecretsAlgorithm
{
	SECRETS_HS256,	   /* RFC 7518: HMAC with SHA-256, for tokens */
	SECRETS_ED25519,   /* RFC 8032 */
	SECRETS_XCHACHA20, /* XChaCha20-Poly1305 */
	SECRETS_HMAC	   /* HMAC with SHA-256, elsewhere */
} SecretsAlgorithm;

#define SECRETS_ALGORITHMS (SECRETS_HMAC + 1)

typedef enum SecretsState
{
	SECRETS_ACTIVE,	 /* signs or seals */
	SECRETS_VERIFY,	 /* imported: verifies only */
	SECRETS_RETIRED, /* verifies what it signed, opens for ever */
	SECRETS_REVOKED	 /* refused at once */
} SecretsState;

#define SECRETS_STATES (SECRETS_REVOKED + 1)

/* One key of the ring.  A key serves one purpose and one algorithm. */
typedef struct SecretsKey
{
	int16 key_id;				/* 1 to 32767, unique in the ring */
	char kid[SECRETS_KID_SIZE]; /* unique; printable ASCII without spaces */
	SecretsPurpose purpose;
	SecretsAlgorithm algorithm;
	SecretsState state;
	int64 created_at; /* seconds since 1970 */
	int64 changed_at; /* when it got its state; 0: when it was made */

	/* Symmetric key, or Ed25519 seed and public key; none when size is 0. */
	uint8 secret[SECRETS_MAX_KEY];
	size_t secret_size;
	uint8 public_key[32]; /* Ed25519 only */
} SecretsKey;

typedef struct SecretsRing
{
	int count;
	SecretsKey keys[FLEXIBLE_ARRAY_MEMBER];
} SecretsRing;

/* Settings and memory; called by plinth.c. */
extern void plinth_secrets_define_settings(void);
extern void plinth_secrets_shmem_request(void);
extern void plinth_secrets_shmem_startup(void);

/*
 * The keyring as it is now.  The pointer is good until the next call.  Raises
 * 55000 when the library is not preloaded, or when the file is missing,
 * damaged, or open to others than its owner.
 */
extern const SecretsRing *plinth_secrets_ring(void);

/* The key of that id and purpose, revoked ones left out; NULL for none. */
extern const SecretsKey *plinth_secrets_find(const SecretsRing *ring,
											 SecretsPurpose purpose,
											 const char *kid, size_t length);

/* The active key of a purpose; NULL unless there is exactly one. */
extern const SecretsKey *plinth_secrets_active(const SecretsRing *ring,
											   SecretsPurpose purpose,
											   SecretsAlgorithm algorithm);

/*
 * Has a retired key verified for long enough?  now is in seconds since 1970.
 * For keys of tokens: what another purpose has signed is verified for ever.
 */
extern bool plinth_secrets_lapsed(const SecretsKey *key, double now);

/* The key of that number and purpose, whatever its state; NULL for none. */
extern const SecretsKey *plinth_secrets_numbered(const SecretsRing *ring,
												 SecretsPurpose purpose,
												 int16 key_id);

/*
 * Make a new active key, in all processes; the active one of its purpose and
 * algorithm retires.  Writes its kid.  The names are those of plinth.keys;
 * algorithm may be NULL.  Raises 42501 when the caller is no superuser, 22023
 * for names that do not suit, 55000 as plinth_secrets_ring().
 */
extern void plinth_secrets_create_named(const char *purpose,
										const char *algorithm, char *kid);

/*
 * Sign a message.  Only an active key of algorithm HS256, HMAC or Ed25519
 * signs: for any other the result is 0.  Else it is the signature's size, at
 * most SECRETS_SIGNATURE_SIZE.
 */
extern size_t plinth_secrets_sign(const SecretsKey *key, const void *message,
								  size_t length, uint8 *signature);

/*
 * Is this the key's signature of the message?  Full length, in constant time;
 * false for a revoked key.
 */
extern bool plinth_secrets_verify(const SecretsKey *key, const void *message,
								  size_t length, const uint8 *signature,
								  size_t signature_size);

/*
 * Read a JSON Web Key (RFC 7517; oct, or OKP of curve Ed25519) from a checked
 * object into a token key of state verify.  Without "kid" the id is the key's
 * thumbprint (RFC 7638).  Returns NULL, or what is wrong with the key as a
 * sentence for an error's detail that tells nothing of it.
 */
extern const char *plinth_secrets_read_jwk(const JsonSlice *jwk, SecretsKey *key);

/*
 * The Ed25519 keys of a purpose that verify now, public halves only, as a JSON
 * Web Key set in a jsonb.  Raises 55000 as plinth_secrets_ring().
 */
extern Datum plinth_secrets_publish(SecretsPurpose purpose);

/*
 * What is wrong with the keyring, as one sentence: it cannot be read, or a key
 * that this database has used is not in it, or another one under its number.
 * NULL when it belongs to the data.  Needs a transaction; raises nothing.
 */
extern const char *plinth_secrets_problem(void);

/* A column of sealed values: a row of plinth.sealed_columns. */
typedef struct SecretsColumn
{
	char *relation; /* with its schema, quoted where needed */
	char *column;
	char *function; /* likewise: f(batch int) -> bigint, values resealed */
} SecretsColumn;

/*
 * The declared columns of this database in the order of their names, as
 * SecretsColumn in the current memory context.  Needs an active snapshot; no
 * right is asked for.
 */
extern List *plinth_secrets_columns(void);

/*
 * Count a column's values under the key of that number, and all others.  Runs
 * as plinth_owner.  Returns false when the table or the column is not there.
 */
extern bool plinth_secrets_count(const SecretsColumn *column, int16 key_id,
								 int64 *under, int64 *others);

#endif /* PLINTH_SECRETS_H */

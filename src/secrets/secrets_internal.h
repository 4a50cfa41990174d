/*-------------------------------------------------------------------------
 *
 * secrets_internal.h
 *		What the files of the secrets room share with each other only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_SECRETS_INTERNAL_H
#define PLINTH_SECRETS_INTERNAL_H

#include "secrets/secrets.h"

#include <sys/stat.h>

/* Keys in one ring, and bytes of its file, at most. */
#define SECRETS_MAX_KEYS 1000
#define SECRETS_MAX_FILE (1024 * 1024)

/* Keys in one set that is imported. */
#define SECRETS_MAX_IMPORT 100

/* Characters of a time in the file, its terminating zero counted. */
#define SECRETS_TIME_SIZE sizeof("2026-01-31T23:59:59Z")

/* Bytes that a ring of so many keys takes, in memory and as a file. */
#define SECRETS_RING_SIZE(count) \
	(offsetof(SecretsRing, keys) + (size_t) (count) * sizeof(SecretsKey))
#define SECRETS_TEXT_SIZE(count) (256 + (size_t) (count) *512)

/* secrets_text.c: pure */

/* Names as the file and the view plinth.keys spell them. */
extern const char *const plinth_secrets_purposes[SECRETS_PURPOSES];
extern const char *const plinth_secrets_algorithms[SECRETS_ALGORITHMS];
extern const char *const plinth_secrets_states[SECRETS_STATES];

/* Lines of a file, so at least the number of its keys. */
extern int plinth_secrets_count_lines(const char *text, size_t length);

/*
 * Read the file's text into a ring with room for a key in each line.  Returns
 * 0, or the number of the first line that is not as it should be.
 */
extern int plinth_secrets_parse(const char *text, size_t length,
								SecretsRing *ring);

/*
 * Write a ring as the file's text, SECRETS_TEXT_SIZE(count) at most; returns
 * its length.
 */
extern size_t plinth_secrets_format(const SecretsRing *ring, char *text);

/* May a key of that algorithm serve that purpose? */
extern bool plinth_secrets_suits(SecretsPurpose purpose,
								 SecretsAlgorithm algorithm);

/* secrets_file.c */

/*
 * Read the keyring file into locked memory, which the caller frees with
 * sodium_free().  Returns NULL, or what is wrong as a sentence for an error's
 * detail; raises nothing, so that it may be called under a lock.  status is
 * set when the file could be opened.
 */
extern const char *plinth_secrets_load(const char *path, SecretsRing **ring,
									   struct stat *status);

/*
 * Replace the keyring file, atomically and durably, mode 0600.  Returns false
 * after a message of level LOG.
 */
extern bool plinth_secrets_store(const char *path, const SecretsRing *ring);

/* Make the first keyring: one active key for each purpose, two for tokens. */
extern bool plinth_secrets_make_first(const char *path);

/* Make a random active key. */
extern void plinth_secrets_make_key(SecretsPurpose purpose,
									SecretsAlgorithm algorithm, int16 key_id,
									SecretsKey *key);

/* secrets_keys.c */

/*
 * As plinth_secrets_ring(), but what is wrong is returned as a sentence for an
 * error's detail, and not raised.
 */
extern const char *plinth_secrets_try_ring(const SecretsRing **ring);

/* Locked memory for a ring of so many keys; NULL when there is none. */
extern SecretsRing *plinth_secrets_alloc(int count);

/*
 * A change of the keyring: works on a copy with room for more keys and says
 * whether it is to be stored.  Runs under a lock: raises nothing, asks nothing
 * of the database.
 */
typedef bool (*SecretsChange)(SecretsRing *ring, void *arg);

/*
 * Change the keyring, in all processes; room is for how many keys more.
 * Returns what the change has returned.  Raises 55000 when the keyring cannot
 * be read or replaced.
 */
extern bool plinth_secrets_change(int room, SecretsChange change, void *arg);

/* secrets_change.c */

/*
 * Add those keys of a set that the ring does not hold yet, in all processes;
 * returns their number.  Raises 42710 when an id stands for another key.
 */
extern int plinth_secrets_add(const SecretsRing *added);

/* As plinth_secrets_create_named(); who may is for the caller to ask. */
extern void plinth_secrets_create(SecretsPurpose purpose,
								  SecretsAlgorithm algorithm, char *kid);

/*
 * Retire or revoke a key, in all processes.  Raises 22023 when there is none
 * of that id, 55000 when its state forbids it.
 */
extern void plinth_secrets_set_state(const char *kid, SecretsState state);

/* Do two entries hold one key, for one purpose? */
extern bool plinth_secrets_same(const SecretsKey *a, const SecretsKey *b);

/* The key of that id, whatever its purpose and state; NULL for none. */
extern SecretsKey *plinth_secrets_by_kid(SecretsRing *ring, const char *kid);

/* The lowest number above all those of the ring; 0 when there is none left. */
extern int16 plinth_secrets_free_number(const SecretsRing *ring);

/* secrets_box.c: pure */

/*
 * A sealed value: version byte, key_id (big-endian), nonce, ciphertext, tag.
 * The header before the nonce and the context are authenticated with it.
 */
#define SECRETS_BOX_VERSION 1
#define SECRETS_BOX_HEADER 3
#define SECRETS_BOX_NONCE 24
#define SECRETS_BOX_TAG 16
#define SECRETS_BOX_OVERHEAD \
	(SECRETS_BOX_HEADER + SECRETS_BOX_NONCE + SECRETS_BOX_TAG)

/* Bytes of a context, at most. */
#define SECRETS_BOX_CONTEXT 1024

/* Where a value belongs, as text in UTF-8. */
typedef struct SecretsContext
{
	const char *text;
	size_t length; /* at most SECRETS_BOX_CONTEXT */
} SecretsContext;

/*
 * Seal bytes; sealed has room for length + SECRETS_BOX_OVERHEAD.  False when
 * the key is no active one of purpose seal, or the context is too long.
 */
extern bool plinth_secrets_box_seal(const SecretsKey *key, const void *plain,
									size_t length, SecretsContext context,
									uint8 *sealed);

/*
 * Open a sealed value; plain has room for length - SECRETS_BOX_OVERHEAD.
 * False when the key is another or revoked, the bytes were changed, or the
 * value belongs elsewhere; plain is then zero.
 */
extern bool plinth_secrets_box_open(const SecretsKey *key, const uint8 *sealed,
									size_t length, SecretsContext context,
									void *plain);

/* The number of the key that sealed a value; 0 when it is no sealed value. */
extern int16 plinth_secrets_box_key(const uint8 *sealed, size_t length);

/* Bytes of a check value. */
#define SECRETS_CHECK_SIZE 32

/* What tells a key from every other without giving it away. */
extern void plinth_secrets_box_check(const SecretsKey *key, uint8 *check);

/* secrets_check.c */

/*
 * Raise 55000 unless the key is the one that this database has used under its
 * number; at first use, note it.  noting says whether the caller may write.
 */
extern void plinth_secrets_require_fit(const SecretsKey *key, bool noting);

/* Does this database have the check value of that very key? */
extern bool plinth_secrets_is_noted(const SecretsKey *key);

/* secrets_merge.c */

/*
 * Add the keys of another keyring that ours does not have, in all processes;
 * returns their number.  Those of purposes seal and audit keep their numbers.
 * An active one retires when ours has one that is active.  Raises 42710 when
 * a kid stands for another key, or a number for another key that this database
 * has used; then nothing is added.
 */
extern int plinth_secrets_merge(const SecretsRing *added);

/* secrets_columns.c */

/*
 * Raise 55000 when a column of plinth.sealed_columns, in this database, has
 * values that need this seal key.
 */
extern void plinth_secrets_require_unused(int16 key_id);

#endif /* PLINTH_SECRETS_INTERNAL_H */

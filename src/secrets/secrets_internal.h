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

/* secrets_keys.c */

/* Locked memory for a ring of so many keys; NULL when there is none. */
extern SecretsRing *plinth_secrets_alloc(int count);

/*
 * Add those keys of a set that the ring does not hold yet, in all processes;
 * returns their number.  Raises 42710 when an id stands for another key.
 */
extern int plinth_secrets_add(const SecretsRing *added);

#endif /* PLINTH_SECRETS_INTERNAL_H */

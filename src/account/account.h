/*-------------------------------------------------------------------------
 *
 * account.h
 *		How does a person prove who they are?
 *
 * Passwords as argon2id strings, the passwords nobody may choose, and random
 * tokens.  Accounts themselves are rows of the module auth.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ACCOUNT_H
#define PLINTH_ACCOUNT_H

#include "postgres.h"

/* Length of a password in bytes (S3.2). */
#define ACCOUNT_PASSWORD_MIN 8
#define ACCOUNT_PASSWORD_MAX 1024

/* Random bytes in a token (S3.6). */
#define ACCOUNT_TOKEN_BYTES 32

/* Settings and memory; called by plinth.c. */
extern void plinth_account_define_settings(void);
extern void plinth_account_shmem_request(void);
extern void plinth_account_shmem_startup(void);

/* Settings that other files of the room read. */
extern char *plinth_account_password_list;

/*
 * The argon2id string of a password under the current settings, in the
 * current memory context.  The password is compared byte by byte later, so
 * all of it counts; it has at most ACCOUNT_PASSWORD_MAX bytes.
 *
 * Errors: 53000 no free hash slot; 53200 no memory; 55000 not preloaded.
 */
extern char *plinth_account_hash(const char *password, size_t length);

/*
 * Is this the password of that argon2id string?  hash NULL, a string that is
 * none, and one that asks for more than the settings could ask for, all mean
 * no, after the same work as for a string of the current settings.
 *
 * Errors: as plinth_account_hash.
 */
extern bool plinth_account_verify(const char *password, size_t length,
								  const char *hash);

/*
 * Was the string made with less memory or fewer passes than the settings now
 * ask for, or is it no argon2id string at all?
 */
extern bool plinth_account_outdated(const char *hash);

/*
 * Is the password on a list of those that everybody tries first?  Letters of
 * the ASCII alphabet compare without regard to case.
 *
 * Errors: 55000 the file of plinth.password_list cannot be read.
 */
extern bool plinth_account_common(const char *password, size_t length);

#endif /* PLINTH_ACCOUNT_H */

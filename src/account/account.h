/*-------------------------------------------------------------------------
 *
 * account.h
 *		How does a person prove who they are?
 *
 * Passwords as argon2id strings, the passwords nobody may choose, random
 * tokens, and the security journal: what must stand although the transaction
 * that saw it is rolled back.  Accounts themselves are rows of the module auth.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ACCOUNT_H
#define PLINTH_ACCOUNT_H

#include "postgres.h"

#include "utils/uuid.h"

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

/*
 * The security journal.  An entry acts from the moment when it is put:
 * checks of lock-out and of ended sessions look here as well as in the
 * tables.  The upkeep worker of the entry's database commits it by calling
 * auth.commit_<kind>(user_id uuid, subject uuid, address inet, source inet,
 * user_agent text, happened_at timestamptz) as plinth_owner, in a transaction
 * of its own, and then removes it.
 */

/*
 * Put an entry of this database, with the caller's address and user agent,
 * and wait at most a second until it is committed.  A kind is one to 24
 * letters a to z or underscores; user and subject may be NULL.  The subject is what the
 * kind says: a session, a challenge.  Returns whether it is committed; if
 * not, the worker will do so later.
 *
 * Errors: 53000 the journal is full; 55000 not preloaded; 57014 and 57P01 in
 * the wait, with the entry in the journal.
 */
extern bool plinth_account_journal_put(const char *kind, const pg_uuid_t *user_id,
									   const pg_uuid_t *subject);

/*
 * How many entries there are in this database: of a kind and about a subject,
 * where they are not NULL.
 */
extern int plinth_account_journal_count(const char *kind,
										const pg_uuid_t *subject);

/*
 * For the upkeep worker: how many milliseconds until there is something to
 * commit in this database, 0 when there is now; most when there is nothing.
 */
extern long plinth_account_journal_due(long most);

/*
 * Commit what is due: in a transaction, with SPI.  After it has ended,
 * _committed() takes what it has committed out of the journal, or with false,
 * when the transaction failed, puts all of it off.
 */
extern void plinth_account_journal_commit(void *arg);
extern void plinth_account_journal_committed(bool done);

/* A database is gone, and its entries with it. */
extern void plinth_account_journal_forget(Oid database);

/*
 * Called for each entry that is put, with its database; set by plinth.c, so
 * that the worker of that database wakes.
 */
extern void (*plinth_account_journal_wake)(Oid database);

#endif /* PLINTH_ACCOUNT_H */

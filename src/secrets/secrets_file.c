/*-------------------------------------------------------------------------
 *
 * secrets_file.c
 *		The keyring file: read, made, replaced.
 *
 * The file belongs to the account of the server and nobody else may read it;
 * a file that others can read or write is refused, since its keys may be
 * known or not be ours.  It is only ever replaced whole.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include <fcntl.h>
#include <sodium.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "storage/fd.h"

/* Random bytes of a key id; a multiple of three, so that none is wasted. */
#define KID_BYTES 12

static const char *read_all(int file, char *text, size_t size);
static bool write_all(const char *path, const char *text, size_t size);

const char *
plinth_secrets_load(const char *path, SecretsRing **ring, struct stat *status)
{
	const char *problem = NULL;
	char *text = NULL;
	int file;
	int line;

	*ring = NULL;
	file = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	if (file < 0)
		return psprintf("File \"%s\" could not be opened: %m.", path);

	if (fstat(file, status) != 0)
		problem = psprintf("File \"%s\" could not be examined: %m.", path);
	else if (!S_ISREG(status->st_mode))
		problem = psprintf("\"%s\" is not a regular file.", path);
	else if (status->st_uid != geteuid())
		problem = psprintf(
			"File \"%s\" belongs to another user than the server's.", path);
	else if ((status->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		problem = psprintf(
			"File \"%s\" has the mode %04o, which lets others than its owner at it.",
			path, (unsigned) (status->st_mode & 07777));
	else if (status->st_size > SECRETS_MAX_FILE)
		problem = psprintf("File \"%s\" is larger than a keyring can be.", path);
	else if ((text = sodium_malloc(status->st_size + 1)) == NULL)
		problem = "There is no memory for the keys.";
	else
		problem = read_all(file, text, status->st_size);
	CloseTransientFile(file);

	if (problem == NULL)
	{
		*ring = plinth_secrets_alloc(
			plinth_secrets_count_lines(text, status->st_size));
		if (*ring == NULL)
			problem = "There is no memory for the keys.";
		else if ((line = plinth_secrets_parse(text, status->st_size, *ring)) != 0)
		{
			problem =
				psprintf("Line %d of file \"%s\" is not as a keyring has it.",
						 line, path);
			sodium_free(*ring);
			*ring = NULL;
		}
	}
	if (text != NULL)
		sodium_free(text);

	return problem;
}

bool
plinth_secrets_store(const char *path, const SecretsRing *ring)
{
	char *text = sodium_malloc(SECRETS_TEXT_SIZE(ring->count));
	char *temporary = psprintf("%s.tmp", path);
	bool ok = false;

	if (text == NULL)
		ereport(LOG, (errcode(ERRCODE_OUT_OF_MEMORY),
					  errmsg("could not allocate memory for the keyring")));
	else
	{
		ok = write_all(temporary, text, plinth_secrets_format(ring, text)) &&
			 durable_rename(temporary, path, LOG) == 0;
		sodium_free(text);
	}
	pfree(temporary);

	return ok;
}

bool
plinth_secrets_make_first(const char *path)
{
	static const struct
	{
		SecretsPurpose purpose;
		SecretsAlgorithm algorithm;
	} first[] = {
		{SECRETS_TOKEN, SECRETS_HS256},
		{SECRETS_TOKEN, SECRETS_ED25519},
		{SECRETS_SEAL, SECRETS_XCHACHA20},
		{SECRETS_AUDIT, SECRETS_ED25519},
		{SECRETS_CERTIFICATE, SECRETS_ED25519},
		{SECRETS_URL, SECRETS_HMAC},
	};
	SecretsRing *ring = plinth_secrets_alloc(lengthof(first));
	bool ok;

	if (ring == NULL)
	{
		ereport(LOG, (errcode(ERRCODE_OUT_OF_MEMORY),
					  errmsg("could not allocate memory for the keyring")));
		return false;
	}

	for (size_t i = 0; i < lengthof(first); i++)
		plinth_secrets_make_key(first[i].purpose, first[i].algorithm,
								(int16) (i + 1), &ring->keys[i]);
	ring->count = lengthof(first);
	ok = plinth_secrets_store(path, ring);
	sodium_free(ring);

	return ok;
}

void
plinth_secrets_make_key(SecretsPurpose purpose, SecretsAlgorithm algorithm,
						int16 key_id, SecretsKey *key)
{
	uint8 kid[KID_BYTES];

	memset(key, 0, sizeof(*key));
	randombytes_buf(kid, sizeof(kid));
	plinth_bytes_to_base64url(kid, sizeof(kid), key->kid);
	key->key_id = key_id;
	key->purpose = purpose;
	key->algorithm = algorithm;
	key->state = SECRETS_ACTIVE;
	key->created_at = (int64) time(NULL);

	if (algorithm == SECRETS_ED25519)
	{
		crypto_sign_keypair(key->public_key, key->secret);
		key->secret_size = crypto_sign_SECRETKEYBYTES;
	}
	else
	{
		key->secret_size = 32;
		randombytes_buf(key->secret, key->secret_size);
	}
}

/*
 * Read as many bytes as the file had when it was looked at.
 */
static const char *
read_all(int file, char *text, size_t size)
{
	size_t done = 0;

	while (done < size)
	{
		ssize_t got = read(file, text + done, size - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return psprintf("The keyring could not be read: %m.");
		if (got == 0)
			return "The keyring ended early.";
		done += got;
	}

	return NULL;
}

/*
 * Write a new file that its owner alone may read, down to the disk.
 */
static bool
write_all(const char *path, const char *text, size_t size)
{
	int file;
	size_t done = 0;
	bool ok;

	/* what an interrupted attempt has left behind is worth nothing */
	unlink(path);
	file = OpenTransientFilePerm(path, O_WRONLY | O_CREAT | O_EXCL | PG_BINARY,
								 S_IRUSR | S_IWUSR);
	if (file < 0)
	{
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not create file \"%s\": %m", path)));
		return false;
	}

	while (done < size)
	{
		ssize_t put = write(file, text + done, size - done);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			break;
		done += put;
	}
	ok = done == size && pg_fsync(file) == 0;
	if (!ok)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", path)));
	CloseTransientFile(file);
	if (!ok)
		unlink(path);

	return ok;
}

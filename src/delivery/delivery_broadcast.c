/*-------------------------------------------------------------------------
 *
 * delivery_broadcast.c
 *		What somebody sends to a topic.
 *
 * With the transaction: a logical message in the WAL, which is decoded if and
 * when the transaction commits, at its place among the transaction's changes.
 * At once: through the queue in shared memory, whatever becomes of the
 * transaction.
 *
 * Everybody may write logical messages (pg_logical_emit_message() is granted
 * to PUBLIC), so each of ours begins with a code over the rest and over its
 * transaction's number, keyed with a secret that the server draws when it
 * starts.  The secret is in shared memory and nowhere else; a message of
 * another start, of another transaction or of somebody else's making is not
 * read.  A slot of ours begins after the start, so it meets no older one.
 *
 * Source of the code: BLAKE2b with a key, RFC 7693.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/topic.h"
#include "claims/claims.h"

#define BROADCAST_PREFIX "plinth.broadcast"
#define BROADCAST_KEY_SIZE 32
#define BROADCAST_CODE_SIZE 32
#define BROADCAST_EVENT_BYTES 255
#define BROADCAST_PAYLOAD_BYTES (64 * 1024)

/* How long a sender waits for room in the queue. */
#define BROADCAST_WAIT_MS 1000

typedef struct BroadcastShared
{
	uint8 key[BROADCAST_KEY_SIZE]; /* never changes */
} BroadcastShared;

void (*plinth_delivery_wake)(Oid database) = NULL;
void (*plinth_delivery_limit)(const char *endpoint) = NULL;

static BroadcastShared *broadcast = NULL;

static void read_message(FunctionCallInfo fcinfo, WireMessage *message);
static void require_sender(WireMessage *message);
static void send_with_transaction(const WireMessage *message);
static void send_at_once(const WireMessage *message);
static void compute_code(const char *bytes, Size length,
						 uint8 code[BROADCAST_CODE_SIZE]);

void
plinth_delivery_broadcast_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(BroadcastShared)));
}

void
plinth_delivery_broadcast_startup(void)
{
	bool found;

	broadcast =
		ShmemInitStruct("plinth broadcast", sizeof(BroadcastShared), &found);
	if (!found && !pg_strong_random(broadcast->key, sizeof(broadcast->key)))
		ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
}

/*
 * plinth.realtime_broadcast(topic text, event text, payload jsonb,
 *		transactional boolean) -> void
 *
 * Send a message to those who follow a topic.
 *
 *	topic			1 to 255 bytes
 *	event			a name of the sender's, 1 to 255 bytes
 *	payload			at most 64 kB as text
 *	transactional	true: if and when the transaction commits, in the order of
 *					commits and at its place among the transaction's changes;
 *					false: at once, also if it is rolled back
 *
 * Errors: 22023 an argument is wrong; 28000 no user; 42501 the topic is not
 * for the caller; PT429 too many; 53000 the queue stays full; 55000 the
 * stream cannot run here.
 */
PG_FUNCTION_INFO_V1(plinth_sql_delivery_broadcast);
Datum
plinth_sql_delivery_broadcast(PG_FUNCTION_ARGS)
{
	WireMessage message = {0};

	plinth_router_require();
	read_message(fcinfo, &message);
	PreventCommandDuringRecovery("realtime.broadcast()");
	if (!XLogLogicalInfoActive())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the change stream is not available"),
						errdetail("\"wal_level\" is not \"logical\"."),
						errhint(PLINTH_PREFLIGHT_HINT)));
	require_sender(&message);

	if (PG_GETARG_BOOL(3))
		send_with_transaction(&message);
	else
		send_at_once(&message);
	PG_RETURN_VOID();
}

/*
 * Is this logical message one of ours, and does somebody follow its topic?
 * The strings of the message lead into the bytes.
 */
bool
plinth_delivery_read_message(const char *prefix, const char *bytes, Size length,
							 TransactionId xid, WireMessage *message)
{
	const Size head = BROADCAST_CODE_SIZE + sizeof(TransactionId);
	uint8 code[BROADCAST_CODE_SIZE];

	if (broadcast == NULL || strcmp(prefix, BROADCAST_PREFIX) != 0 ||
		length <= head ||
		memcmp(bytes + BROADCAST_CODE_SIZE, &xid, sizeof(xid)) != 0 ||
		!plinth_wire_unpack_message(bytes + head, length - head, message) ||
		!plinth_router_wants_topic(message->topic))
		return false;

	compute_code(bytes + BROADCAST_CODE_SIZE, length - BROADCAST_CODE_SIZE, code);
	return sodium_memcmp(code, bytes, sizeof(code)) == 0;
}

/*
 * Read the arguments.
 */
static void
read_message(FunctionCallInfo fcinfo, WireMessage *message)
{
	static const char *const names[] = {"topic", "event", "payload",
										"transactional"};
	Size length;
	Jsonb *payload;

	for (int i = 0; i < (int) lengthof(names); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"%s\" must not be null", names[i])));

	message->topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	plinth_topic_check(message->topic);
	message->event = text_to_cstring(PG_GETARG_TEXT_PP(1));
	length = strlen(message->event);
	if (length == 0 || length > BROADCAST_EVENT_BYTES)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid event"),
			 errdetail("An event has 1 to %d bytes.", BROADCAST_EVENT_BYTES)));
	payload = PG_GETARG_JSONB_P(2);
	message->payload = JsonbToCString(NULL, &payload->root, VARSIZE(payload));
	length = strlen(message->payload);
	if (length > BROADCAST_PAYLOAD_BYTES)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the payload is too large"),
						errdetail("It has %zu bytes as text and may have %d.",
								  length, BROADCAST_PAYLOAD_BYTES)));
}

/*
 * Note who sends, and refuse who may not.
 */
static void
require_sender(WireMessage *message)
{
	const ClaimsIdentity *claims = plinth_claims_current();
	bool is_service = plinth_claims_is_service();

	if (claims != NULL && claims->has_user)
	{
		message->has_sender = true;
		message->sender = claims->user_id;
	}
	else if (!is_service)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("User not authenticated")));

	plinth_topic_require(message->topic, TOPIC_WRITE);
	if (!is_service && plinth_delivery_limit != NULL)
		plinth_delivery_limit("broadcast");
}

/*
 * Put it into the WAL of the transaction.
 */
static void
send_with_transaction(const WireMessage *message)
{
	TransactionId xid = GetTopTransactionId();
	StringInfoData bytes;
	uint8 code[BROADCAST_CODE_SIZE] = {0};

	initStringInfo(&bytes);
	appendBinaryStringInfo(&bytes, (const char *) code, sizeof(code));
	appendBinaryStringInfo(&bytes, (const char *) &xid, sizeof(xid));
	plinth_wire_pack_message(&bytes, message);
	compute_code(bytes.data + sizeof(code), bytes.len - sizeof(code), code);
	memcpy(bytes.data, code, sizeof(code));

	(void) plinth_log_message(BROADCAST_PREFIX, bytes.data, bytes.len);
	pfree(bytes.data);
}

/*
 * Hand it to the stream worker.
 */
static void
send_at_once(const WireMessage *message)
{
	StringInfoData bytes;

	initStringInfo(&bytes);
	plinth_wire_pack_message(&bytes, message);
	if (!plinth_delivery_enqueue(bytes.data, bytes.len, BROADCAST_WAIT_MS))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						errmsg("could not send the message"),
						errdetail("The queue of the stream worker is full."),
						errhint("Try again.")));
	pfree(bytes.data);
	if (plinth_delivery_wake != NULL)
		plinth_delivery_wake(MyDatabaseId);
}

/*
 * The code over the rest of a message.
 */
static void
compute_code(const char *bytes, Size length, uint8 code[BROADCAST_CODE_SIZE])
{
	if (crypto_generichash(code, BROADCAST_CODE_SIZE,
						   (const unsigned char *) bytes, length,
						   broadcast->key, sizeof(broadcast->key)) != 0)
		elog(ERROR, "could not compute the code of a message");
}

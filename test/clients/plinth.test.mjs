// node-postgres against plinth: what a pool, parameters, notifications and
// error codes look like to an application.  Needs PGHOST, PGPORT and a
// superuser in PGUSER; makes and drops a database of its own.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import pg from 'pg';

const database = 'plinth_clients';
let admin;
let pool;

before(async () => {
  const root = new pg.Client({ database: 'postgres' });
  await root.connect();
  await root.query(`DROP DATABASE IF EXISTS ${database}`);
  await root.query(`CREATE DATABASE ${database}`);
  await root.end();
  admin = new pg.Client({ database });
  await admin.connect();
  await admin.query('CREATE EXTENSION plinth CASCADE');
  await admin.query('SELECT plinth.install(module) FROM plinth.modules() WHERE available IS NOT NULL');
  // Many sign-ups from one address follow; the limit itself is tested elsewhere.
  await admin.query("UPDATE plinth.rate_limit_tiers SET requests = 100000 WHERE name = 'anonymous'");
  pool = new pg.Pool({ database, user: 'authenticator', max: 4 });
});

after(async () => {
  await pool?.end();
  await admin?.end();
  const root = new pg.Client({ database: 'postgres' });
  await root.connect();
  await root.query(`DROP DATABASE IF EXISTS ${database} WITH (FORCE)`);
  await root.end();
});

// One request through the pool: a transaction as a role, perhaps with a token.
async function request(role, token, work, using = pool) {
  const client = using instanceof pg.Pool ? await using.connect() : using;
  try {
    await client.query('BEGIN');
    await client.query(`SET LOCAL ROLE ${role}`);
    if (token) await client.query('SELECT auth.authenticate($1)', [token]);
    const answer = await work(async (text, values) => (await client.query(text, values)).rows);
    await client.query('COMMIT');
    return answer;
  } catch (error) {
    await client.query('ROLLBACK');
    throw error;
  } finally {
    if (using instanceof pg.Pool) client.release();
  }
}

async function member(email) {
  const password = `a long sentence of ${email}`;
  await request('anon', null, (q) => q('SELECT auth.sign_up($1, $2)', [email, password]));
  const [{ token }] = await request('service_role', null, (q) =>
    q("SELECT auth.generate_link('confirmation', $1) ->> 'token' AS token", [email]));
  await request('anon', null, (q) => q("SELECT auth.verify_otp('confirmation', $1)", [token]));
  const [{ session }] = await request('anon', null, (q) =>
    q('SELECT auth.sign_in_with_password($1, $2) AS session', [email, password]));
  return { email, password, id: session.user.id, ...session };
}

async function until(probe, what) {
  for (let tries = 0; tries < 1000; tries++) {
    const answer = await probe();
    if (answer) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`never came: ${what}`);
}

test('sign up, confirm, sign in: a session with the claims that clients expect', async () => {
  const user = await member('first@example.com');
  assert.equal(user.token_type, 'bearer');
  assert.equal(user.expires_in, 900);
  const claims = JSON.parse(Buffer.from(user.access_token.split('.')[1], 'base64url'));
  assert.equal(claims.sub, user.id);
  assert.equal(claims.role, 'authenticated');
  assert.equal(claims.email, user.email);
  assert.equal(claims.exp - claims.iat, 900);
  for (const name of ['session_id', 'aal', 'amr', 'app_metadata', 'user_metadata'])
    assert.ok(name in claims, `claim ${name}`);
  assert.ok(!('password' in user.user) && !('encrypted_password' in user.user));
});

test('an identity never leaks to the next request of a pooled connection', async () => {
  const user = await member('pooled@example.com');
  const one = new pg.Pool({ database, user: 'authenticator', max: 1 });
  try {
    const [{ uid }] = await request('authenticated', user.access_token, (q) => q('SELECT auth.uid() AS uid'), one);
    assert.equal(uid, user.id);
    const [after1] = await request('authenticated', null, (q) => q('SELECT auth.uid() AS uid'), one);
    assert.equal(after1.uid, null, 'after COMMIT');
    await assert.rejects(request('authenticated', user.access_token, (q) => q('SELECT 1 / 0'), one), { code: '22012' });
    const [after2] = await request('authenticated', null, (q) => q('SELECT auth.uid() AS uid'), one);
    assert.equal(after2.uid, null, 'after an error');
  } finally {
    await one.end();
  }
});

test('errors carry their SQLSTATE and never the token', async () => {
  await assert.rejects(request('authenticated', 'not.a.token', (q) => q('SELECT 1')), (error) => {
    assert.equal(error.code, '28000');
    assert.equal(error.message, 'Invalid or expired token');
    assert.ok(!JSON.stringify(error).includes('not.a.token'));
    return true;
  });
  await assert.rejects(request('anon', null, (q) =>
    q('SELECT auth.sign_in_with_password($1, $2)', ['nobody@example.com', 'whatever it is'])),
  { code: '28000', message: 'Invalid login credentials' });
  await assert.rejects(request('anon', null, (q) => q('SELECT * FROM auth.users')), { code: '42501' });
  await assert.rejects(request('authenticated', null, (q) =>
    q("SELECT social.add_xp(gen_random_uuid(), 10, 'daily_login')")), { code: '42501' });
  await assert.rejects(request('service_role', null, (q) =>
    q("SELECT plinth.check_rate_limit('someone', 'no such tier')")), { code: '22023' });
});

test('a refresh token gives one successor, whoever of many comes first', async () => {
  const user = await member('refresh@example.com');
  const tries = await Promise.allSettled(Array.from({ length: 6 }, () =>
    request('anon', null, (q) => q('SELECT auth.refresh_session($1) AS session', [user.refresh_token]))));
  const answered = tries.filter((t) => t.status === 'fulfilled').map((t) => t.value[0].session.refresh_token);
  // The first use, and once more within the grace: the same successor.
  assert.equal(answered.length, 2);
  assert.equal(new Set(answered).size, 1);
  assert.notEqual(answered[0], user.refresh_token);
  for (const t of tries.filter((t) => t.status === 'rejected')) assert.equal(t.reason.code, '28000');
  // The session stands: its newest token works.
  const [{ session }] = await request('anon', null, (q) =>
    q('SELECT auth.refresh_session($1) AS session', [answered[0]]));
  assert.ok(session.access_token);
});

test('a limit holds across connections and rollbacks', async () => {
  const user = await member('limited@example.com');
  const calls = await Promise.all(Array.from({ length: 12 }, () =>
    request('authenticated', user.access_token, (q) =>
      q("SELECT plinth.check_rate_limit($1, 'clients', 5, 60) AS allowed", [user.id]))));
  assert.equal(calls.filter(([row]) => row.allowed).length, 5);
});

test('concurrent awards add up exactly', async () => {
  const user = await member('awarded@example.com');
  await Promise.all(Array.from({ length: 20 }, () =>
    request('service_role', null, (q) => q("SELECT social.add_xp($1, 7, 'quiz_completion')", [user.id]))));
  const [row] = await request('anon', null, (q) =>
    q('SELECT total_xp, current_level FROM social.user_levels WHERE user_id = $1', [user.id]));
  assert.deepEqual(row, { total_xp: '140', current_level: 1 });
});

test('the audit trail names the actor and the connection', async () => {
  const user = await member('audited@example.com');
  await request('authenticated', user.access_token, (q) => q('SELECT profiles.get_or_create_profile()'));
  await request('authenticated', user.access_token, (q) =>
    q(`UPDATE profiles.private_profiles SET preferences = '{"a": 1}' WHERE id = $1`, [user.id]));
  const [entry] = await request('service_role', null, (q) =>
    q("SELECT action, user_id, user_email, new_data FROM audit.history('profiles.private_profiles', $1, 1)", [user.id]));
  assert.equal(entry.action, 'UPDATE');
  assert.equal(entry.user_id, user.id);
  assert.equal(entry.user_email, user.email);
  assert.deepEqual(entry.new_data.preferences, { a: 1 });
});

test('a change arrives at the listener who may see it, in order, and at no other', async () => {
  await admin.query(`
    CREATE SCHEMA app;
    CREATE TABLE app.notes (id int PRIMARY KEY, owner_id uuid NOT NULL, body text);
    ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON app.notes TO authenticated USING (owner_id = (SELECT auth.uid()));
    GRANT USAGE ON SCHEMA app TO authenticated;
    GRANT SELECT ON app.notes TO authenticated;
    ALTER PUBLICATION plinth_realtime ADD TABLE app.notes;`);
  const users = [await member('hears@example.com'), await member('deaf@example.com')];
  for (const user of users) {
    user.client = new pg.Client({ database, user: 'authenticator' });
    await user.client.connect();
    user.heard = [];
    user.client.on('notification', (n) => user.heard.push(JSON.parse(n.payload)));
    [user.subscription] = await request('authenticated', user.access_token, (q) =>
      q("SELECT * FROM realtime.subscribe('notes', 'app', 'notes')"), user.client);
    await user.client.query(`LISTEN "${user.subscription.listen_channel}"`);
  }
  const [hears, deaf] = users;
  for (let n = 1; n <= 10; n++)
    await admin.query('INSERT INTO app.notes VALUES ($1, $2, $3)', [n, hears.id, `body ${n}`]);
  await admin.query('INSERT INTO app.notes VALUES (11, $1, $2)', [deaf.id, 'for the other']);
  await until(() => hears.heard.length >= 10, 'ten notifications');
  await until(() => deaf.heard.length >= 1, "the other's notification");
  assert.deepEqual(hears.heard.map((m) => m.new.id), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.deepEqual(deaf.heard.map((m) => m.new.id), [11]);
  assert.equal(hears.heard[0].eventType, 'INSERT');
  assert.equal(hears.heard[0].table, 'notes');
  const polled = await request('authenticated', hears.access_token, (q) =>
    q('SELECT seq, payload FROM realtime.poll($1, $2, $3)', [hears.subscription.subscription_id,
      hears.subscription.session_key, hears.subscription.after_seq]));
  assert.deepEqual(polled.map((p) => p.payload.new.id), hears.heard.map((m) => m.new.id));
  for (const user of users) await user.client.end();
});

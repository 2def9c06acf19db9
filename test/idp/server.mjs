// An identity provider for tests: oidc-provider on a loopback port, and beside
// it, on a second port, a control interface for what no real provider offers.
//
//   npm ci && node server.mjs [PORT]
//
// It prints one JSON line, {"issuer": …, "control": …}, when both listen, and
// ends when its standard input does, so that it never outlives its test.
//
//   POST /rotate     a new key signs from now on; the old ones stay published
//   POST /retire     only the key that signs stays published
//   POST /sign       {header, claims} -> {token}: anything, under the current key
//   POST /id-token   {client, claims} -> {token}: what the provider gives a browser
//   POST /client   {client_id, …}: one more client, with what oidc-provider wants of it
//   GET  /client-key {key}: in PEM, what the client gateway-by-key signs with
//   GET  /stats      {jwks: how often the key set was fetched}

import { createServer } from 'node:http';
import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { text } from 'node:stream/consumers';

const scopes = ['orders:read', 'orders:write', 'profile', 'email'];
const clients = ['shop', 'batch', 'mobile', 'burst'];

// Tokens for these are opaque; those for the second live for three seconds.
const opaque = { 'urn:orders-opaque': 3600, 'urn:orders-brief': 3 };

// Who may ask about tokens, and by which proof.
const clientKey = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const gateways = [
  { client_id: 'gateway:by secret', client_secret: 'a secret: 100% + more', token_endpoint_auth_method: 'client_secret_basic' },
  { client_id: 'gateway-by-post', client_secret: 'post-secret', token_endpoint_auth_method: 'client_secret_post' },
  {
    client_id: 'gateway-by-key',
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    jwks: { keys: [clientKey.publicKey.export({ format: 'jwk' })] },
  },
].map((client) => ({ ...client, grant_types: [], response_types: [], redirect_uris: [] }));

const asked = process.argv[2] ?? '0';
if (!/^\d{1,5}$/.test(asked)) {
  console.error('usage: node server.mjs [PORT]     an identity provider for tests, on 127.0.0.1; its first line says where, and it ends with its standard input');
  process.exit(asked === '--help' || asked === '-h' ? 0 : 2);
}

const { default: Provider } = await import('oidc-provider').catch(() => {
  console.error('oidc-provider is not installed; run npm ci in this folder');
  process.exit(1);
});

const listen = (port) => new Promise((ready, failed) => {
  const server = createServer();
  server.once('error', failed);
  server.listen(port, '127.0.0.1', () => ready(server));
});
const front = await listen(Number(asked));
const back = await listen(0);
const issuer = `http://127.0.0.1:${front.address().port}`;

// Who has browsers log in.
const browsers = [];

// The key set of an oidc-provider is fixed when it is made, so each rotation
// makes another one behind the same port. Nothing of the old is needed: its
// access tokens are signed, not stored.
let keys = [];
let provider;
let handle;

function publish(next) {
  keys = next;
  provider = new Provider(issuer, {
    jwks: { keys },
    scopes: scopes.concat('openid', 'offline_access'),
    clients: clients.map((id) => ({
      client_id: id,
      client_secret: `${id}-secret`,
      grant_types: ['client_credentials', 'authorization_code'],
      redirect_uris: ['https://client.example/callback'],
      scope: scopes.concat('openid').join(' '),
    })).concat(gateways, browsers),
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_, client) => client.clientId.startsWith('gateway') },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:orders-api',
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: scopes.join(' '),
          audience: 'orders-api',
          accessTokenFormat: opaque[resource] ? 'opaque' : 'jwt',
          accessTokenTTL: opaque[resource] ?? 3600,
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
    cookies: { keys: ['only for tests'] },
    // Its own would not call a client on this machine.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    ttl: { ClientCredentials: (_, token) => token.resourceServer?.accessTokenTTL ?? 3600, IdToken: 3600 },
  });
  handle = provider.callback();
}

let serial = 0;
function newKey() {
  serial += 1;
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid: `${process.pid}-${serial}`, alg: 'RS256', use: 'sig' };
}

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function signed(header, claims) {
  const [key] = keys;
  const input = `${base64({ alg: 'RS256', typ: 'at+jwt', kid: key.kid, ...header })}.${base64(claims)}`;
  const signature = sign('RSA-SHA256', Buffer.from(input), createPrivateKey({ key, format: 'jwk' }));
  return `${input}.${signature.toString('base64url')}`;
}

async function idToken(clientId, claims) {
  const client = await provider.Client.find(clientId);
  const token = new provider.IdToken({ sub: 'alice' }, { client });
  token.scope = 'openid';
  for (const [name, value] of Object.entries(claims)) token.set(name, value);
  return token.issue({ use: 'idtoken' });
}

let fetched = 0;

const commands = {
  'POST /rotate': () => publish([newKey(), ...keys]),
  'POST /retire': () => publish(keys.slice(0, 1)),
  'POST /sign': ({ header, claims }) => ({ token: signed(header, claims) }),
  'POST /client': (client) => { browsers.push(client); publish(keys); },
  'POST /id-token': async ({ client, claims }) => ({ token: await idToken(client, claims ?? {}) }),
  'GET /client-key': () => ({ key: clientKey.privateKey.export({ format: 'pem', type: 'pkcs8' }) }),
  'GET /stats': () => ({ jwks: fetched }),
};

publish([newKey()]);
front.on('request', (req, res) => {
  if (req.url === '/jwks') fetched += 1;
  handle(req, res);
});
back.on('request', async (req, res) => {
  try {
    const command = commands[`${req.method} ${req.url}`];
    const body = await text(req);
    const answer = command ? await command(body ? JSON.parse(body) : {}) : undefined;
    res.writeHead(command ? 200 : 404, { 'content-type': 'application/json' });
    res.end(JSON.stringify(answer ?? {}));
  } catch (err) {
    res.writeHead(500, { 'content-type': 'text/plain' });
    res.end(String(err.stack));
  }
});

console.log(JSON.stringify({ issuer, control: `http://127.0.0.1:${back.address().port}` }));
process.stdin.on('end', () => process.exit(0)).resume();
